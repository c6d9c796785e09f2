"""What is inside the clock and what is not: the warm-up before it, the timed epochs, and when they are enough."""

import gc
import time
from dataclasses import dataclass, replace
from typing import TextIO

import torch
from torch import nn
from tqdm import tqdm

from epochbench.timing import evidence, reference
from epochbench.timing.device import Device, Elapsed
from epochbench.timing.failures import plain_network
from epochbench.timing.load import Batches
from epochbench.timing.machine import energy, host
from epochbench.timing.machine.watch import states_together, together
from epochbench.timing.network import count_parameters, trained
from epochbench.timing.record import GpuState, GpuWatch
from epochbench.timing.step import Step
from epochbench.timing.stopping import enough
from epochbench.timing.task import Task
from epochbench.timing.team import Team


@dataclass(frozen=True)
class Warmup:
    """The first steps: their seconds and losses, and the weights' change after each of the first few.

    `replay_deviation` is how far a replayed epoch is from its steps, relatively; 0 where an epoch is its steps.
    """

    seconds: list[float]
    losses: list[float]
    updates: list[torch.Tensor]
    replay_deviation: float


@dataclass(frozen=True)
class Timed:
    """The timed epochs: their times and last losses, and what was counted and read around them."""

    epochs: list[Elapsed]
    losses: list[float]
    outer_seconds: float
    between_seconds: float
    step_seconds: float
    steps: int
    images: int
    parameters_moved: float
    activity: host.Activity
    gpu_states: tuple[GpuState | None, GpuState | None]
    gpu_energy_joules: float | None
    cpu_energy_joules: float | None
    gpu_watch: GpuWatch | None = None

    @property
    def epoch_seconds(self) -> list[float]:
        """Return the wall time of each epoch."""
        return [elapsed.wall_seconds for elapsed in self.epochs]


def warm_up(task: Task, step: Step, network: nn.Module, batches: Batches, device: Device) -> Warmup:
    """Take the first steps, each timed by itself; every batch shape is seen, so nothing is compiled later."""
    count = max(1, task.protocol.warmup_steps)
    chosen = [index % len(batches) for index in range(count)]
    if len(batches[-1][1]) != len(batches[0][1]):
        chosen.append(len(batches) - 1)
    checked = evidence.steps_to_check(task.cell.batch_size, count, count_parameters(network))
    checked = min(len(batches), checked)
    before = reference.weights(network)
    seconds, losses, updates = [], [], []
    for number in chosen:
        images, labels = batches[number]
        device.start()
        with plain_network(task.cell, images.shape[1:]):
            loss = step.take(images, labels)
        seconds.append(device.stop().wall_seconds)
        losses.append(float(loss))
        if len(losses) <= checked:
            updates.append(reference.weights(network) - before)
    device.start()
    replay_deviation = step.ready(batches)
    seconds.append(device.stop().wall_seconds)
    return Warmup(seconds, losses, updates, replay_deviation)


def time_epochs(
    task: Task, team: Team, step: Step, network: nn.Module, batches: Batches, device: Device, console: TextIO | None
) -> Timed:
    """Time epochs until the protocol has enough, while other processes watch the team's accelerators."""
    with device.watched() as watching:
        timed = _time_epochs(task, team, step, network, batches, device, console)
    states = zip(*team.gather(timed.gpu_states), strict=True)
    return replace(
        timed, gpu_watch=together(team.gather(watching.seen)), gpu_states=tuple(map(states_together, states))
    )


def _time_epochs(
    task: Task, team: Team, step: Step, network: nn.Module, batches: Batches, device: Device, console: TextIO | None
) -> Timed:
    """Time the epochs, with the counters and copies that the gates ask for around them."""
    weights = [parameter.detach().clone() for parameter in trained(network).values()]
    counted = step.steps_taken, step.images_taken, step.seconds
    epochs, losses = [], []
    label = f"{task.cell.cell} run {task.run}"
    gpu_before, before = device.gpu_state(), host.activity()
    joules = device.energy_joules(), energy.cpu_microjoules()
    gc.collect()
    gc.disable()
    try:
        with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
            outer, between, left = time.monotonic(), 0.0, time.perf_counter()
            while team.decide(not enough(task.protocol, [epoch.wall_seconds for epoch in epochs], len(batches))):
                team.barrier()
                between += time.perf_counter() - left
                elapsed, loss = time_epoch(step, batches, device)
                left = time.perf_counter()
                epochs.append(elapsed)
                losses.append(loss)
                bar.set_postfix_str(f"{elapsed.wall_seconds:.3g} s/epoch", refresh=False)
                bar.update()
            between += time.perf_counter() - left
            outer = time.monotonic() - outer
    finally:
        gc.enable()
    gpu_joules = device.energy_joules()
    return Timed(
        epochs=epochs,
        losses=losses,
        outer_seconds=outer,
        between_seconds=between,
        step_seconds=step.seconds - counted[2],
        steps=step.steps_taken - counted[0],
        images=step.images_taken - counted[1],
        parameters_moved=evidence.share_moved(weights, network),
        activity=host.activity() - before,
        gpu_states=(gpu_before, device.gpu_state()),
        gpu_energy_joules=energy.joules_between(joules[0], gpu_joules) or None,  # one that stands still is unknown
        cpu_energy_joules=energy.cpu_joules_between(joules[1], energy.cpu_microjoules()),
    )


def time_epoch(step: Step, batches: Batches, device: Device) -> tuple[Elapsed, float]:
    """Time one epoch, every batch once, from an empty queue to an empty queue; return it and its last loss."""
    device.start()
    loss = step.epoch(batches)
    # Gradients are averaged in every step, so the others of a team are at most the last update behind.
    elapsed = device.stop()
    return elapsed, float(loss)
