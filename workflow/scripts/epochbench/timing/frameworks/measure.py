"""One cell of a framework other than torch: it trains in a process of its own, and torch checks here what it did.

Our stopwatch times it there. Weights that it is given and gives back pass through files; they are compared, evaluated
and judged here as those of torch's cells are, and the machine's peaks are measured by torch too.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TextIO

import safetensors.torch
import torch
from torch import nn

from epochbench import networks
from epochbench.documents import from_dict
from epochbench.errors import BenchmarkError
from epochbench.timing import devices, evidence, reference
from epochbench.timing.bounds import bounded_output
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device
from epochbench.timing.devices import lacking, open_device
from epochbench.timing.evaluate import evaluate
from epochbench.timing.failures import plain_failures
from epochbench.timing.frameworks import refused
from epochbench.timing.frameworks.client import Client, started
from epochbench.timing.load import dataset_of
from epochbench.timing.machine import host
from epochbench.timing.measure import conditions_of, evidence_of, laps, timing_of, training_of
from epochbench.timing.network import build_network, count_parameters, examined
from epochbench.timing.process import keep_freed_memory, seconds_since_start
from epochbench.timing.protocol import DEVICE
from epochbench.timing.record import Gpu
from epochbench.timing.stack import describe_framework
from epochbench.timing.stopwatch import Timed
from epochbench.timing.task import Measurement, Task
from epochbench.timing.team import Solo
from epochbench.timing.tries import Timer, time_in_quiet
from epochbench.timing.warmup import Warmup

ALONE = Solo()


def measure(task: Task, console: TextIO | None = None) -> Measurement:
    """Measure one cell of another framework; every time is in seconds.

    Raises BenchmarkError where the framework is not installed, lacks what the cell asks for, or fails.
    """
    _require(task)
    folder = tempfile.TemporaryDirectory(prefix="epochbench-")
    with plain_failures(task.cell), bounded_output(), folder as path, started(task, console) as client:
        return _measure(task, client, Path(path), console)


def _require(task: Task) -> None:
    """Raise BenchmarkError for what only torch's cells have."""
    cell, protocol = task.cell, task.protocol
    rules = (
        (not protocol.is_plain_sgd, f"optimizer {protocol.optimizer} with weight decay {protocol.weight_decay}"),
        (protocol.until_accuracy > 0, f"timing.until_accuracy {protocol.until_accuracy}"),
        (protocol.residency != DEVICE, f"dataset.residency {protocol.residency}"),
    )
    wrong = [*refused(cell.framework, cell), *(f"{what} is torch's alone" for asked, what in rules if asked)]
    lacks = lacking(cell)
    wrong += [lacks] if lacks else []
    if wrong:
        raise BenchmarkError(f"cell '{cell.cell}': {'; '.join(wrong)}; leave the cells of {cell.framework} out")


def _measure(task: Task, client: Client, folder: Path, console: TextIO | None) -> Measurement:
    start_seconds, load_average = seconds_since_start(), host.load_average()
    torch.set_num_threads(task.threads)
    cell, dataset = task.cell, dataset_of(task.manifest)
    looked_at = examined(cell.model, dataset)
    network = build_network(cell.model, dataset, task.protocol.seed)
    opened = client.ask("open")
    loaded = client.ask("load", names=[name for name, _ in network.named_parameters()])
    first = folder / "first.safetensors"
    safetensors.torch.save_file({name: value.detach() for name, value in network.named_parameters()}, first)
    warmup = _warm_up(task, client, network, first, len(loaded["sizes"]))
    epoch = {"weights": str(first), "kept": str(folder / "epoch.safetensors")}
    before = client.ask("whole_epoch", **epoch)
    warmup = replace(warmup, seconds=[*warmup.seconds, before["seconds"]])
    device = cache(lambda: open_device(_as_torch(task).cell))
    timer = _timer(task, client, opened, first, dataset.train_images, device)
    attempts = time_in_quiet(task, ALONE, timer, console)
    last, lap = attempts[-1], laps()
    finished = client.ask("finish", kept=str(folder / "last.safetensors"))

    keep_freed_memory()  # the clock has stopped; evaluation and checks need not be slow on any cell
    _load(network, folder / "last.safetensors")
    evaluation = evaluate(_as_torch(task), network.to(device().torch_device), device())
    evaluation_seconds = lap()
    told = _Told(opened, finished)
    training = training_of(task, ALONE, network, len(loaded["sizes"]), warmup, last, evaluation)
    conditions = conditions_of(task, ALONE, told, load_average, last.timed, finished["threads"])
    checked, unchecked = evidence_of(task, ALONE, told, network, warmup, last.timed, evaluation)
    # Its weights are those that are looked at: what changes in a framework after a while has changed by then.
    after = client.ask("whole_epoch", **epoch)
    moved = _vector(network, folder / "epoch.safetensors") - _vector(network, first)
    epochs = [before["losses"], last.timed.first_losses, after["losses"]]
    checked = replace(checked, first_epoch=evidence.first_epoch(task, epochs, moved))
    timing = replace(
        timing_of(warmup, last.timed, start_seconds, loaded["seconds"], dataset.train_images),
        evaluation_seconds=evaluation_seconds,
        check_seconds=lap(),
        calibration_seconds=last.calibration_seconds,
    )
    return Measurement(
        timing=timing,
        training=training,
        gpu=told.gpu(),
        conditions=replace(conditions, environment=finished["environment"]),
        evidence=checked,
        peaks=last.peaks,
        limit=last.limit,
        tries=[attempt.noted for attempt in attempts],
        stack=describe_framework(opened["stack"], task.protocol),
        network=looked_at.told(networks.described(cell.model), unchecked),
    )


def _warm_up(task: Task, client: Client, network: nn.Module, first: Path, batches: int) -> Warmup:
    """Have the first steps taken; the weights' change over the first few is what comes back in files."""
    steps = evidence.steps_to_check(task.cell.batch_size, task.protocol.warmup_steps, count_parameters(network))
    checked = min(batches, steps)
    told = client.ask("warm_up", weights=str(first), checked=checked, folder=str(first.parent))
    files = [first.parent / f"step-{number}.safetensors" for number in range(1, checked + 1)]
    before = _vector(network, first)
    updates = [_vector(network, file) - before for file in files]
    return Warmup(told["seconds"], told["losses"], updates)


def _timer(task: Task, client: Client, opened: dict, first: Path, images: int, device: Callable[[], Device]) -> Timer:
    """Return what times epochs in the other process, each try from the first weights.

    torch calibrates the device after each. Until then it does not touch the card, so that the framework is alone there.
    """
    ours = {client.process.pid}
    card = devices.card(from_dict(Gpu, opened["gpu"])) if opened["gpu"] else None

    def calibrated() -> Device:
        ours.add(os.getpid())
        return device()

    def time_epochs() -> Timed:
        return from_dict(Timed, client.ask("time_epochs", weights=str(first), owners=sorted(ours)))

    return Timer(time_epochs, images, calibrated, lambda: card.state(ours) if card else None)


def _as_torch(task: Task) -> Task:
    """Return a plain cell of torch on the same device, by which the weights are evaluated."""
    cell = task.cell
    return replace(task, cell=Cell(cell.cell, cell.device, cell.model, batch_size=cell.batch_size))


def _load(network: nn.Module, file: Path) -> None:
    network.load_state_dict(safetensors.torch.load_file(file))


def _vector(network: nn.Module, file: Path) -> torch.Tensor:
    """Return the weights in a file that are compared, in the order of the network's."""
    stored = safetensors.torch.load_file(file)
    return reference.sampled([stored[name] for name, _ in network.named_parameters()])


class _Told(Device):
    """What the other process says of its device."""

    def __init__(self, opened: dict, finished: dict):
        self.opened, self.finished = opened, finished

    def gpu(self) -> Gpu | None:
        return self.opened["gpu"] and from_dict(Gpu, self.opened["gpu"])

    def flags(self) -> dict[str, str]:
        return self.finished["flags"]

    def tf32_allowed(self) -> bool | None:
        return self.finished["tf32"]
