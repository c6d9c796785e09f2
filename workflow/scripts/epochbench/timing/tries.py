"""Time the epochs when the machine is quiet, and once more where it was not."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TextIO

from epochbench.timing import quiet
from epochbench.timing.calibrate import calibrated
from epochbench.timing.device import Device
from epochbench.timing.record import GpuState, Limit, Peaks, Try
from epochbench.timing.stopwatch import Timed
from epochbench.timing.task import Task
from epochbench.timing.team import Team


@dataclass(frozen=True)
class Timer:
    """What is tried: a function that times epochs, of `images` in all, on a card whose state is told.

    `device` is the one that is calibrated just after, opened no earlier than it is asked for.
    """

    time_epochs: Callable[[], Timed]
    images: int
    device: Callable[[], Device]
    card: Callable[[], GpuState | None]


@dataclass(frozen=True)
class Attempt:
    """One try: the timed epochs, the memory they took, the peaks measured just after them, and what disturbed them."""

    timed: Timed
    peak_memory_bytes: int
    peaks: Peaks
    limit: Limit
    calibration_seconds: float
    noted: Try


def time_in_quiet(task: Task, team: Team, timer: Timer, console: TextIO | None) -> list[Attempt]:
    """Time the epochs until a try is undisturbed or the protocol's tries are used up; the last one counts.

    Whether a try is repeated is decided by the first of a team, from the conditions alone.
    """
    attempts: list[Attempt] = []
    patience = task.protocol.quiet_seconds

    def say(text: str) -> None:
        if console:
            print(f"{task.cell.cell} run {task.run}: {text}", file=console)

    while True:
        # Each of a team waits for its own cores and card.
        waited = quiet.wait_for_quiet(patience, say, timer.card) if patience > 0 else 0.0
        patience -= waited
        waited = max(team.gather(waited))
        attempt = _attempt(task, team, timer)
        attempts.append(replace(attempt, noted=replace(attempt.noted, waited_seconds=round(waited, 3))))
        again = quiet.is_disturbed(attempt.noted) and len(attempts) < task.protocol.tries
        if not team.decide(again):
            return attempts
        say(f"disturbed ({'; '.join(attempt.noted.disturbed_by)}), timed again")


def _attempt(task: Task, team: Team, timer: Timer) -> Attempt:
    timed = timer.time_epochs()
    peak_memory_bytes = team.total([timed.peak_memory_bytes])[0]
    started = time.perf_counter()
    peaks, limit = calibrated(task, team, timer.device(), timer.images, min(timed.epoch_seconds))
    seconds = round(time.perf_counter() - started, 3)
    return Attempt(timed, peak_memory_bytes, peaks, limit, seconds, _noted(task, team, timed, peaks))


def _noted(task: Task, team: Team, timed: Timed, peaks: Peaks) -> Try:
    """Return what the record keeps of a try. Workers are pinned, so that each sees the cores of its own."""
    activity = timed.activity
    # Of the time in which they were counted, which is a little longer than the epochs.
    available = activity.usable * activity.at_seconds
    others, steal, core_seconds = team.total([activity.other_cpu_seconds, activity.stolen_seconds or 0.0, available])
    taken = quiet.shares(others, None if activity.steal_seconds is None else steal, core_seconds)
    reached = peaks.matrix_flop_per_second["fp32"]
    own = reached / team.size  # the reference is of one process too
    return Try(
        epoch_seconds=timed.epoch_seconds,
        waited_seconds=0.0,
        others_share=round(taken.others, 4),
        steal_share=None if taken.steal is None else round(taken.steal, 4),
        matrix_flop_per_second=reached,
        disturbed_by=quiet.disturbances(taken, own, task.reference_flop_per_second, timed.gpu_watch),
    )
