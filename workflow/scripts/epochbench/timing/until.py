"""Train anew until a test accuracy is reached, after the timed epochs and apart from them: DAWNBench's question.

Coleman et al. 2017 ask how long a machine trains until its network is as good as wanted. Only training is on the clock;
starting, loading, compiling and warming up, and the evaluation after every epoch, are not.
"""

import gc
import math
import time
from dataclasses import dataclass, replace
from typing import TextIO

from torch import nn
from tqdm import tqdm

from epochbench.timing.device import Device
from epochbench.timing.evaluate import load_evaluated, of_images
from epochbench.timing.load import Batches, dataset_of
from epochbench.timing.machine import energy, host
from epochbench.timing.network import build_network
from epochbench.timing.record import UntilAccuracy
from epochbench.timing.step import Step
from epochbench.timing.stopwatch import time_epoch
from epochbench.timing.task import Task
from epochbench.timing.team import Team


def train_until(
    task: Task, team: Team, step: Step, network: nn.Module, batches: Batches, device: Device, console: TextIO | None
) -> UntilAccuracy:
    """Train from new weights until the protocol's accuracy, or for as many epochs as it allows; then put all back.

    Every run has weights of a seed of its own: how lucky they are is a part of how long it takes.
    """
    kept, counted, wanted = step.state(), step.images_taken, task.protocol.until_accuracy
    seed = task.protocol.seed + task.run - 1
    _renew(task, step, network, seed)
    before, began = host.activity(), time.monotonic()
    epochs = _epochs(task, team, step, network, batches, device, console)
    others = _others_share(team, host.activity() - before, time.monotonic() - began)
    step.restore(kept)
    return UntilAccuracy(
        accuracy=wanted,
        reached=epochs[-1].accuracy >= wanted,
        seed=seed,
        epoch_seconds=[epoch.seconds for epoch in epochs],
        test_accuracies=[epoch.accuracy for epoch in epochs],
        counted_images=round(team.total([step.images_taken - counted])[0]),
        evaluation_seconds=sum(epoch.evaluation_seconds for epoch in epochs),
        gpu_energy_joules=team.total_if_known(_sum_if_known([epoch.gpu_joules for epoch in epochs])),
        cpu_energy_joules=_sum_if_known([epoch.cpu_joules for epoch in epochs]),
        others_share=others,
    )


@dataclass(frozen=True)
class _Epoch:
    seconds: float
    gpu_joules: float | None
    cpu_joules: float | None
    accuracy: float = 0.0
    evaluation_seconds: float = 0.0


def _epochs(
    task: Task, team: Team, step: Step, network: nn.Module, batches: Batches, device: Device, console: TextIO | None
) -> list[_Epoch]:
    """Train and evaluate in turn, until it is enough by the first of the team, which alone evaluates.

    A loss that is no number stays one, so that there is nothing more to wait for.
    """
    protocol, epochs, more = task.protocol, [], True
    images, labels = load_evaluated(task, device, "test")
    label = f"{task.cell.cell} run {task.run} to {protocol.until_accuracy * 100:g} %"
    with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
        while more:
            team.barrier()
            trained = _train_epoch(step, batches, device)
            started = time.perf_counter()
            accuracy, loss = of_images(task, network, device, images, labels) if team.rank == 0 else (0.0, 0.0)
            network.train()
            epochs.append(replace(trained, accuracy=accuracy, evaluation_seconds=time.perf_counter() - started))
            bar.set_postfix_str(f"accuracy {accuracy:.1%}", refresh=False)
            bar.update()
            done = accuracy >= protocol.until_accuracy or not math.isfinite(loss)
            more = team.decide(not done and len(epochs) < protocol.until_epochs)
    return epochs


def _renew(task: Task, step: Step, network: nn.Module, seed: int) -> None:
    """Give the network the weights of a seed, and the step an optimiser that has seen nothing."""
    cell = task.cell
    fresh = build_network(cell.model, dataset_of(task.manifest), seed, cell.layers, cell.memory_format)
    network.load_state_dict(fresh.state_dict())
    step.start_over()


def _train_epoch(step: Step, batches: Batches, device: Device) -> _Epoch:
    """Train an epoch just as the timed ones are, with the counters of energy read around it."""
    gc.collect()
    gc.disable()
    try:
        before = device.energy_joules(), energy.cpu_microjoules()
        elapsed, _ = time_epoch(step, batches, device)
        after = device.energy_joules(), energy.cpu_microjoules()
    finally:
        gc.enable()
    gpu = energy.joules_between(before[0], after[0])
    return _Epoch(elapsed.wall_seconds, gpu, energy.cpu_joules_between(before[1], after[1]))


def _others_share(team: Team, activity: host.Activity, seconds: float) -> float:
    """Return the share of the team's cores that others took meanwhile, 0 to 1."""
    others, cores = team.total([activity.other_cpu_seconds, activity.usable])
    return round(others / (seconds * cores), 4)


def _sum_if_known(values: list[float | None]) -> float | None:
    """Return the sum, None where one is unknown, or where the counter never moved: it is read too seldom to tell."""
    return None if None in values else sum(values) or None
