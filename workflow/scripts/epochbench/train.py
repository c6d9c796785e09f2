"""One run of one cell: load, build, warm up, time epochs, evaluate; the result is a record."""

import json
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
import torch
from torch.nn import functional

from epochbench import evidence as gather
from epochbench import gates, machine, provenance, stopwatch
from epochbench.device import autocast, open_device, plain_failures
from epochbench.errors import BenchmarkError
from epochbench.model import MEMORY_FORMATS, build_network, count_parameters
from epochbench.process import keep_freed_memory
from epochbench.record import (
    Cell,
    Conditions,
    Dataset,
    Evidence,
    Gpu,
    Limit,
    Peaks,
    Protocol,
    Record,
    Timing,
    Training,
    from_dict,
    seal,
)
from epochbench.roofline import calibrate, limit
from epochbench.shard import load_split, read_manifest, verify_shards
from epochbench.step import build_step

EVALUATION_BATCH = 1000
CALIBRATION_TRIES = 5
# Taken once, as early as can be; from here on a clock counts that nobody sets.
IMPORTED = time.perf_counter()
SECONDS_BEFORE_IMPORT = max(0.0, time.time() - psutil.Process().create_time())


@dataclass(frozen=True)
class Task:
    """What one run needs to know."""

    cell: Cell
    run: int
    protocol: Protocol
    manifest: str
    threads: int


@dataclass(frozen=True)
class Measurement:
    """What one run found, before it is joined with where and when."""

    timing: Timing
    training: Training
    gpu: Gpu | None
    conditions: Conditions
    evidence: Evidence
    peaks: Peaks
    limit: Limit


class Solo:
    """One process that trains alone; workers.py has the team of several."""

    rank, size = 0, 1

    def wrap(self, network):
        """Return the network as this team trains it."""
        return network

    def barrier(self) -> None:
        """Wait for the others."""

    def total(self, values: list[float]) -> list[float]:
        """Return the sum over the team of each value."""
        return values

    def decide(self, choice: bool) -> bool:
        """Return what the first of the team decides."""
        return choice


def run_cell(task: Task, lock_wait_seconds: float = 0.0, console=None) -> Record:
    """Train one cell in this process, or in as many as it asks for, and return the record.

    Raises BenchmarkError where the cell cannot be run on this machine or on this data.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    verify_shards(task.manifest)
    if task.cell.processes > 1:
        from epochbench.workers import measure_in_team

        measurement = measure_in_team(task)
    else:
        measurement = measure(task, Solo(), console)
    record = Record(
        cell=task.cell,
        run=task.run,
        started_at=started_at,
        wall_seconds=round(_seconds_since_start(), 3),
        protocol=task.protocol,
        dataset=_dataset(task.manifest),
        timing=measurement.timing,
        training=measurement.training,
        machine=provenance.describe_machine(measurement.gpu),
        conditions=replace(measurement.conditions, lock_wait_seconds=round(lock_wait_seconds, 3)),
        evidence=measurement.evidence,
        peaks=measurement.peaks,
        limit=measurement.limit,
        code=provenance.code(),
    )
    sealed = seal(record)
    return replace(sealed, gates=gates.findings(sealed))


def measure(task: Task, team, console=None) -> Measurement:
    """Measure one cell in this process, as one of a team; every time is in seconds.

    Raises BenchmarkError where the device has too little memory for the cell, or fails.
    """
    with plain_failures(task.cell):
        return _measure(task, team, console)


def _measure(task: Task, team, console) -> Measurement:
    start_seconds = _seconds_since_start()
    load = machine.load_average()
    torch.set_num_threads(task.threads)
    device = open_device(task.cell, team.rank)
    batches, load_seconds = _load(task, team, device)
    network = build_network(task.cell.model, task.protocol.seed, task.cell.layers, task.cell.memory_format)
    network = network.to(device.torch_device)
    step = build_step(task, team.wrap(network), device)
    warmup = stopwatch.warm_up(task, step, network, batches, device)
    timed = stopwatch.time_epochs(task, team, step, network, batches, device, console)
    wall = [elapsed.wall_seconds for elapsed in timed.epochs]
    events = [elapsed.event_seconds for elapsed in timed.epochs]
    images = sum(len(labels) for _, labels in batches) * team.size
    timing = Timing(
        epoch_seconds=wall,
        event_seconds=None if None in events else events,
        start_seconds=round(start_seconds, 3),
        load_seconds=load_seconds,
        first_step_seconds=warmup.seconds[0],
        warmup_seconds=sum(warmup.seconds),
        images_per_second=images * len(wall) / sum(wall),
    )
    peak_memory_bytes = team.total([device.peak_memory_bytes()])[0]
    keep_freed_memory()  # the clock has stopped; evaluation and gates need not be slow on any cell
    lap = _laps()
    evaluation = _evaluate(task, network, device) if team.rank == 0 else _Evaluation(0.0, 0.0)
    evaluated = lap()
    training = Training(
        parameters=count_parameters(network),
        steps_per_epoch=len(batches),
        warmup_losses=_mean_losses(team, warmup.losses),
        epoch_losses=_mean_losses(team, timed.losses),
        test_accuracy=evaluation.accuracy,
        peak_memory_bytes=peak_memory_bytes,
    )
    conditions = _conditions(task, team, device, load, timed)
    evidence = _evidence(task, team, device, network, warmup, timed, evaluation)
    checked = lap()
    peaks, found = _calibrated(task, team, device, images, min(wall))
    timing = replace(timing, evaluation_seconds=evaluated, check_seconds=checked, calibration_seconds=lap())
    return Measurement(timing, training, device.gpu(), conditions, evidence, peaks, found)


def _laps():
    """Return a function that tells the seconds since it was last called, or made."""
    last = [time.perf_counter()]

    def lap() -> float:
        last.append(time.perf_counter())
        return round(last[-1] - last[-2], 3)

    return lap


def _calibrated(task: Task, team, device, images: int, fastest: float) -> tuple[Peaks, Limit]:
    """Return the peaks and the floors that they leave an epoch.

    Whatever disturbs a calibration lowers its peaks. So where they say that the fastest epoch cannot be, the machine is
    asked again before the gate accuses the timing.
    """
    for _ in range(CALIBRATION_TRIES):
        peaks = _team_peaks(team, calibrate(device, task.cell.precision))
        found = limit(task.cell, images, peaks)
        if team.decide(gates.is_possible(fastest, found, peaks, task.cell.precision)):
            break
    return peaks, found


def _team_peaks(team, peaks: Peaks) -> Peaks:
    """Return what the whole team reaches; each worker has calibrated its own share at the same time."""
    products = team.total(list(peaks.matrix_flop_per_second.values()))
    copied, launched = team.total([peaks.memory_bytes_per_second, peaks.launches_per_second])
    return Peaks(dict(zip(peaks.matrix_flop_per_second, products, strict=True)), copied, launched)


def _mean_losses(team, losses: list[float]) -> list[float | None]:
    """Return the team's mean losses, None for NaN."""
    return [gather.finite(loss / team.size) for loss in team.total(losses)]


def _seconds_since_start() -> float:
    """Return how long ago this process was started, the interpreter and the imports included."""
    return SECONDS_BEFORE_IMPORT + time.perf_counter() - IMPORTED


def _dataset(manifest_path: str) -> Dataset:
    manifest = read_manifest(manifest_path)
    return Dataset(
        name=manifest["source"]["name"],
        synthetic=manifest["source"]["synthetic"],
        fingerprint=manifest["fingerprint"],
        train_images=manifest["splits"]["train"]["images"],
        test_images=manifest["splits"]["test"]["images"],
    )


def _load(task: Task, team, device) -> tuple[list[tuple], float]:
    """Load the training images onto the device, cut into batches in the network's memory format."""
    device.start()
    images, labels = load_split(task.manifest, "train", device.torch_device)
    cell = task.cell
    if cell.batch_size > len(labels) or len(labels) % cell.batch_size % cell.processes:
        raise BenchmarkError(
            f"cell '{cell.cell}': batch_size {cell.batch_size} with {cell.processes} processes does not fit "
            f"{len(labels)} training images; choose at most as many, and divisible by the processes"
        )
    layout = _layout(cell)
    batches = [
        (_share(batch, team).contiguous(memory_format=layout), _share(truth, team))
        for batch, truth in zip(images.split(cell.batch_size), labels.split(cell.batch_size), strict=True)
    ]
    return batches, device.stop().wall_seconds


def _layout(cell: Cell) -> torch.memory_format:
    """Return the layout of the images; oneDNN's own is made of contiguous ones in the network."""
    return MEMORY_FORMATS.get(cell.memory_format, torch.contiguous_format)


def _share(batch, team):
    """Return this worker's equal part of a batch."""
    return batch.chunk(team.size)[team.rank] if team.size > 1 else batch


@dataclass(frozen=True)
class _Evaluation:
    """How well the network names the test images: the share named rightly, and the mean cross-entropy."""

    accuracy: float
    loss: float


def _evaluate(task: Task, network, device) -> _Evaluation:
    """Evaluate the network as it is after the timed epochs."""
    images, labels = load_split(task.manifest, "test", device.torch_device)
    images = images.contiguous(memory_format=_layout(task.cell))
    network.eval()
    right = loss = 0.0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            logits = network(batch).float()
            right += int((logits.argmax(dim=1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return _Evaluation(right / len(labels), loss / len(labels))


def _conditions(task: Task, team, device, load: float | None, timed: stopwatch.Timed) -> Conditions:
    activity = timed.activity
    own = [activity.minor_page_faults, activity.involuntary_context_switches, activity.own_cpu_seconds]
    page_faults, switches, own_seconds, threads = team.total([*own, torch.get_num_threads()])
    return Conditions(
        threads=threads,
        allocator=task.cell.allocator,
        lock_wait_seconds=0.0,
        load_average=load,
        minor_page_faults=page_faults,
        involuntary_context_switches=switches,
        own_cpu_seconds=round(own_seconds, 3),
        other_cpu_seconds=round(max(0.0, activity.busy_cpu_seconds - own_seconds), 3),
        steal_seconds=None if activity.steal_seconds is None else round(activity.steal_seconds, 3),
        gpu_energy_joules=_team_energy(team, timed.gpu_energy_joules),
        cpu_energy_joules=timed.cpu_energy_joules,
        flags=device.flags(),
        environment=machine.telling_environment(),
        gpu_before=timed.gpu_states[0],
        gpu_after=timed.gpu_states[1],
    )


def _team_energy(team, joules: float | None) -> float | None:
    """Return the sum over the team's cards, None where one of them does not tell."""
    total, unknown = team.total([joules or 0.0, float(joules is None)])
    return None if unknown else total


def _evidence(
    task: Task, team, device, network, warmup: stopwatch.Warmup, timed: stopwatch.Timed, evaluation: _Evaluation
) -> Evidence:
    """Gather what the gates judge, now that the clock has stopped; only the first of a team has all of it."""
    first_losses = [loss / team.size for loss in team.total(warmup.losses[: warmup.checked_steps])]
    steps, images = team.total([timed.steps, timed.images])
    team.barrier()
    loss_deviation, update_deviation = (
        gather.deviations(task, first_losses, warmup.update) if team.rank == 0 else (None, None)
    )
    return Evidence(
        counted_steps=steps // team.size,
        counted_images=images,
        parameters_moved=timed.parameters_moved,
        test_loss=gather.finite(evaluation.loss),
        checked_steps=warmup.checked_steps,
        loss_deviation=loss_deviation,
        update_deviation=update_deviation,
        tf32_allowed=device.tf32_allowed(),
        outer_seconds=timed.outer_seconds,
        step_seconds=timed.step_seconds + sum(elapsed.wait_seconds for elapsed in timed.epochs),
        subnormal_share=gather.subnormal_share(network),
    )


def save_task(path, task: Task) -> None:
    """Write a task for a worker process."""
    Path(path).write_text(json.dumps(asdict(task)))


def load_task(path) -> Task:
    """Read a task that save_task wrote."""
    return from_dict(Task, json.loads(Path(path).read_text()))
