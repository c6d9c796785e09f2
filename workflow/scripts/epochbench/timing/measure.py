"""Load, build, warm up, time, evaluate, check, calibrate: what one process of a run does."""

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TextIO

import torch
from torch import nn

from epochbench import networks
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.timing import evidence, reference, stopwatch
from epochbench.timing.bounds import bounded_output, ends_within
from epochbench.timing.device import Device
from epochbench.timing.devices import open_device, shown_variables
from epochbench.timing.evaluate import NOT_EVALUATED, Evaluation, evaluate
from epochbench.timing.examine import IMAGES, SWITCHED_OFF, Examined, hold_still
from epochbench.timing.failures import plain_failures, plain_network
from epochbench.timing.load import Batches, count_images, dataset_of, load_batches
from epochbench.timing.machine import host
from epochbench.timing.network import build_network, count_parameters, examined
from epochbench.timing.process import keep_freed_memory, seconds_since_start
from epochbench.timing.record import Conditions, Evidence, FirstStep, Timing, Training
from epochbench.timing.stack import describe_stack
from epochbench.timing.step import build_step
from epochbench.timing.task import Measurement, Task
from epochbench.timing.team import Team
from epochbench.timing.tries import Attempt, Timer, time_in_quiet
from epochbench.timing.until import train_until
from epochbench.timing.warmup import Warmup, warm_up


def measure(task: Task, team: Team, console: TextIO | None = None) -> Measurement:
    """Measure one cell in this process, as one of a team; every time is in seconds.

    Raises BenchmarkError where the device has too little memory for the cell, or fails.
    """
    with plain_failures(task.cell), bounded_output():
        return _measure(task, team, console)


def _measure(task: Task, team: Team, console: TextIO | None) -> Measurement:
    start_seconds, load_average = seconds_since_start(), host.load_average()
    torch.set_num_threads(task.threads)
    device = open_device(task.cell, team.rank)
    source, looked_at = networks.described(task.cell.model), _look_at_network(task)
    batches, load_seconds = load_batches(task, team, device)
    still = _first_steps_held_still(task, team, device, batches) if looked_at.randomness == SWITCHED_OFF else None
    network = _network(task, device)
    step = build_step(task, team.wrap(network), device)
    warmup = warm_up(task, step, network, batches, device)
    images = count_images(batches) * team.size
    timer = Timer(
        lambda: stopwatch.time_epochs(task, team, step, batches, device, console),
        images,
        lambda: device,
        device.gpu_state,
    )
    attempts = time_in_quiet(task, team, timer, console)
    last = attempts[-1]
    timed = last.timed
    until = None
    if task.protocol.until_accuracy:
        until = train_until(task, team, step, network, batches, device, console)

    keep_freed_memory()  # the clock has stopped; evaluation and checks need not be slow on any cell
    lap = laps()
    evaluation = evaluate(task, network, device) if team.rank == 0 else NOT_EVALUATED
    evaluation_seconds = lap()
    training = training_of(task, team, network, len(batches), warmup, last, evaluation)
    conditions = conditions_of(task, team, device, load_average, timed, torch.get_num_threads())
    checked, unchecked = evidence_of(task, team, device, network, still or warmup, timed, evaluation)
    timing = replace(
        timing_of(warmup, timed, start_seconds, load_seconds, images),
        evaluation_seconds=evaluation_seconds,
        check_seconds=lap(),
        calibration_seconds=last.calibration_seconds,
    )
    return Measurement(
        timing=timing,
        training=training,
        gpu=device.gpu(),
        conditions=conditions,
        evidence=checked,
        peaks=last.peaks,
        limit=last.limit,
        tries=[attempt.noted for attempt in attempts],
        stack=describe_stack(device, task.protocol),
        until_accuracy=until,
        network=looked_at.told(source, unchecked),
    )


def _look_at_network(task: Task) -> Examined:
    """Look at the network before anything else is done with it, for a bounded time."""
    cell, dataset = task.cell, dataset_of(task.manifest)
    files = networks.sources(cell.model) if networks.is_file(cell.model) else []
    what = f"cell '{cell.cell}': model {cell.model}, made and tried on {IMAGES} images,"
    with plain_network(cell, dataset.image_shape), ends_within(what, files):
        return examined(cell.model, dataset)


def _first_steps_held_still(task: Task, team: Team, device: Device, batches: Batches) -> Warmup:
    """Take the first steps of a network of its own with dropout and the like off, so that they can be checked."""
    network = _network(task, device)
    step = build_step(task, team.wrap(network), device)
    hold_still(network)
    few = replace(task.protocol, warmup_steps=min(evidence.CHECKED_STEPS, task.protocol.warmup_steps))
    checked = warm_up(replace(task, protocol=few), step, network, batches, device)
    del step, network
    gc.collect()  # a captured graph and its step hold each other, and the device's memory
    return checked


def _network(task: Task, device: Device) -> nn.Module:
    cell, dataset = task.cell, dataset_of(task.manifest)
    with plain_network(cell, dataset.image_shape):
        network = build_network(cell.model, dataset, task.protocol.seed, cell.layers, cell.memory_format)
    return network.to(device.torch_device)


def laps() -> Callable[[], float]:
    """Return a function that tells the seconds since it was last called, or made."""
    last = [time.perf_counter()]

    def lap() -> float:
        last.append(time.perf_counter())
        return round(last[-1] - last[-2], 3)

    return lap


def timing_of(warmup: Warmup, timed: stopwatch.Timed, start_seconds: float, load_seconds: float, images: int) -> Timing:
    """Return the raw times of a run of so many images an epoch."""
    wall = timed.epoch_seconds
    events = [elapsed.event_seconds for elapsed in timed.epochs]
    return Timing(
        epoch_seconds=wall,
        event_seconds=None if None in events else events,
        start_seconds=round(start_seconds, 3),
        load_seconds=load_seconds,
        first_step_seconds=warmup.seconds[0],
        warmup_seconds=sum(warmup.seconds),
        images_per_second=images * len(wall) / sum(wall),
    )


def training_of(
    task: Task, team: Team, network: nn.Module, steps: int, warmup: Warmup, last: Attempt, evaluation: Evaluation
) -> Training:
    """Return what the epochs of the last try did, of so many steps each."""
    return Training(
        parameters=count_parameters(network),
        steps_per_epoch=steps,
        warmup_losses=_mean_losses(team, warmup.losses),
        epoch_losses=_mean_losses(team, last.timed.losses),
        test_accuracy=evaluation.accuracy,
        peak_memory_bytes=last.peak_memory_bytes,
        learning_rate=task.protocol.rate(task.cell.batch_size),
    )


def _mean_losses(team: Team, losses: list[float]) -> list[float | None]:
    """Return the team's mean losses, None for NaN."""
    return [evidence.finite(loss / team.size) for loss in team.total(losses)]


def conditions_of(
    task: Task, team: Team, device: Device, load_average: float | None, timed: stopwatch.Timed, threads: int
) -> Conditions:
    """Return what the machine did meanwhile; `threads` are those that this process says it has."""
    activity = timed.activity
    own = [activity.minor_page_faults, activity.involuntary_context_switches, activity.own_cpu_seconds]
    of_cores = [activity.other_cpu_seconds, activity.stolen_seconds or 0.0]
    page_faults, switches, own_seconds, other_seconds, steal_seconds, threads = team.total([*own, *of_cores, threads])
    return Conditions(
        threads=threads,
        allocator=task.cell.allocator,
        lock_wait_seconds=0.0,
        load_average=load_average,
        minor_page_faults=page_faults,
        involuntary_context_switches=switches,
        own_cpu_seconds=round(own_seconds, 3),
        other_cpu_seconds=round(other_seconds, 3),
        steal_seconds=None if activity.steal_seconds is None else round(steal_seconds, 3),
        gpu_energy_joules=team.total_if_known(timed.gpu_energy_joules),
        cpu_energy_joules=timed.cpu_energy_joules,
        flags=device.flags(),
        environment=host.relevant_environment(shown_variables()),
        gpu_before=timed.gpu_before,
        gpu_after=timed.gpu_after,
        gpu_watch=timed.gpu_watch,
    )


def evidence_of(
    task: Task,
    team: Team,
    device: Device,
    network: nn.Module,
    checked: Warmup | None,
    timed: stopwatch.Timed,
    evaluation: Evaluation,
) -> tuple[Evidence, str | None]:
    """Gather what the gates judge, now that the clock has stopped; only the first of a team has all of it.

    `checked` are the first steps to be compared with float64; return, too, why they cannot be.
    """
    first_losses = [loss / team.size for loss in team.total(checked.losses[: len(checked.updates)])]
    steps, images = team.total([timed.steps, timed.images])
    team.barrier()
    first_steps, unchecked = _compared(task, first_losses, checked) if team.rank == 0 else ([], None)
    found = Evidence(
        counted_steps=steps // team.size,
        counted_images=images,
        parameters_moved=timed.parameters_moved,
        test_loss=evidence.finite(evaluation.loss),
        checked_steps=len(checked.updates),
        **evidence.deviations(first_steps),
        tf32_allowed=device.tf32_allowed(),
        outer_seconds=timed.outer_seconds,
        step_seconds=timed.step_seconds + sum(elapsed.wait_seconds for elapsed in timed.epochs),
        subnormal_share=evidence.subnormal_share(network),
        between_seconds=timed.between_seconds,
        first_steps=first_steps,
        train_images_evaluated=evaluation.train_images,
        train_loss=evidence.finite(evaluation.train_loss),
        train_accuracy=evaluation.train_accuracy,
        late_seconds=timed.late_seconds,
    )
    return found, unchecked


def _compared(task: Task, losses: list[float], checked: Warmup) -> tuple[list[FirstStep], str | None]:
    """Return how far the first steps are from float64; or, of a network that cannot be computed in it, why not."""
    why_not = reference.why_not(task)
    if why_not:
        return [], why_not
    try:
        with plain_network(task.cell, dataset_of(task.manifest).image_shape):
            return evidence.first_steps(task, losses, checked.updates, checked.replay_deviation), None
    except (BenchmarkError, RuntimeError, MemoryError) as error:
        if not networks.is_foreign(task.cell.model):
            raise
        return [], f"it cannot be computed in float64: {in_one_line(error)}"[:500]
