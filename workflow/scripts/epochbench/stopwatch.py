"""What is inside the clock and what is not: the warm-up before it, the timed epochs, and when they are enough."""

import gc
import time
from dataclasses import dataclass

import torch
from tqdm import tqdm

from epochbench import energy, machine
from epochbench import evidence as gather
from epochbench.record import Protocol
from epochbench.statistics import relative_half_width


@dataclass(frozen=True)
class Warmup:
    """The first steps: their seconds and losses, and how the first few of them changed the weights."""

    seconds: list[float]
    losses: list[float]
    checked_steps: int
    update: torch.Tensor


@dataclass(frozen=True)
class Timed:
    """The timed epochs: their times and last losses, and what was counted and read around them."""

    epochs: list
    losses: list[float]
    outer_seconds: float
    step_seconds: float
    steps: int
    images: int
    parameters_moved: float
    activity: machine.Activity
    gpu_states: tuple
    gpu_energy_joules: float | None
    cpu_energy_joules: float | None


def warm_up(task, step, network, batches, device) -> Warmup:
    """Take the first steps, each timed by itself; every batch shape is seen, so nothing is compiled later."""
    count = max(1, task.protocol.warmup_steps)
    chosen = [batches[index % len(batches)] for index in range(count)]
    if len(batches[-1][1]) != len(batches[0][1]):
        chosen.append(batches[-1])
    checked = min(len(batches), gather.steps_to_check(task.cell.batch_size, count))
    before = gather.weights(network)
    seconds, losses, update = [], [], None
    for images, labels in chosen:
        device.start()
        loss = step.take(images, labels)
        seconds.append(device.stop().wall_seconds)
        losses.append(float(loss))
        if len(losses) == checked:
            update = gather.weights(network) - before
    return Warmup(seconds, losses, checked, update)


def time_epochs(task, team, step, network, batches, device, console) -> Timed:
    """Time epochs until the protocol is content, with the counters and copies that the gates ask for around them."""
    weights = [parameter.detach().clone() for parameter in network.parameters()]
    counted = step.steps_taken, step.images_taken, step.seconds
    epochs, losses = [], []
    label = f"{task.cell.cell} run {task.run}"
    gpu_before, before = device.gpu_state(), machine.activity()
    joules = device.energy_joules(), energy.cpu_microjoules()
    gc.collect()
    gc.disable()
    try:
        with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
            outer = time.monotonic()
            while team.decide(not content(task.protocol, epochs, len(batches))):
                elapsed, loss = time_epoch(team, step, batches, device)
                epochs.append(elapsed)
                losses.append(loss)
                bar.set_postfix_str(f"{elapsed.wall_seconds:.3g} s/epoch", refresh=False)
                bar.update()
            outer = time.monotonic() - outer
    finally:
        gc.enable()
    gpu_joules = device.energy_joules()
    return Timed(
        epochs=epochs,
        losses=losses,
        outer_seconds=outer,
        step_seconds=step.seconds - counted[2],
        steps=step.steps_taken - counted[0],
        images=step.images_taken - counted[1],
        parameters_moved=gather.share_moved(weights, network),
        activity=machine.activity() - before,
        gpu_states=(gpu_before, device.gpu_state()),
        gpu_energy_joules=None if None in (joules[0], gpu_joules) else gpu_joules - joules[0],
        cpu_energy_joules=energy.cpu_joules_between(joules[1], energy.cpu_microjoules()),
    )


def time_epoch(team, step, batches, device):
    """Time one epoch: every batch once, from an empty queue to an empty queue."""
    team.barrier()
    device.start()
    for images, labels in batches:
        loss = step.take(images, labels)
    # Gradients are averaged in every step, so the others of a team are at most the last update behind.
    elapsed = device.stop()
    return elapsed, float(loss)


def content(protocol: Protocol, epochs: list, steps_per_epoch: int) -> bool:
    """Tell whether enough epochs were timed: the minimum, and then the precision aimed at or the time allowed."""
    seconds = [elapsed.wall_seconds for elapsed in epochs]
    steps = protocol.warmup_steps + len(seconds) * steps_per_epoch
    if len(seconds) < protocol.min_epochs or steps < protocol.min_steps or sum(seconds) < protocol.min_seconds:
        return len(seconds) >= protocol.max_epochs
    if sum(seconds) >= protocol.max_seconds or len(seconds) >= protocol.max_epochs:
        return True
    return relative_half_width(seconds) <= protocol.precision
