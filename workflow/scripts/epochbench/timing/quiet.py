"""Whether the machine was left alone while a run was timed: decided from its conditions, never from the epoch times."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from epochbench.timing.machine import host
from epochbench.timing.record import Try

MAX_OTHERS_SHARE = 0.05
MAX_STEAL_SHARE = 0.02
# Below this share of the matrix product that the machine usually reaches, something held it back. Undisturbed, that of
# 16 Xeon cores in a virtual machine varied by a fifth.
MIN_CALIBRATION_SHARE = 0.75
# Long enough for the kernel's clock ticks (10 ms each) to tell a twentieth of a core.
LOOK_SECONDS = 0.4


@dataclass(frozen=True)
class Shares:
    """What others took of a job's own cores, from 0 to 1; `steal` is None where the kernel does not tell."""

    others: float
    steal: float | None

    def problems(self) -> list[str]:
        """Return what of this disturbs a timing, in words."""
        told = []
        if self.others > MAX_OTHERS_SHARE:
            told.append(f"others took {self.others:.0%} of the cores")
        if self.steal is not None and self.steal > MAX_STEAL_SHARE:
            told.append(f"the hypervisor took {self.steal:.0%} of the cores")
        return told


def shares(busy_seconds: float, own_seconds: float, steal_seconds: float | None, core_seconds: float) -> Shares:
    """Return what was taken of so many core seconds: by others (all that was busy but not ours), by the hypervisor."""
    others = max(0.0, busy_seconds - own_seconds) / core_seconds
    return Shares(others, None if steal_seconds is None else steal_seconds / core_seconds)


def disturbances(taken: Shares, flop_per_second: float, usual_flop_per_second: float) -> list[str]:
    """Return what disturbed a timing, in words; an empty list where nothing did.

    `flop_per_second` is what the matrix product reached just after the clock, `usual_flop_per_second` what this
    machine usually reaches with as many threads.
    """
    told = taken.problems()
    share = flop_per_second / usual_flop_per_second
    if share < MIN_CALIBRATION_SHARE:
        told.append(f"the matrix product reached {share:.0%} of what this machine usually does")
    return told


def is_disturbed(one: Try) -> bool:
    """Tell whether a try was disturbed."""
    return bool(one.disturbed_by)


def wait_for_quiet(limit_seconds: float, say: Callable[[str], None]) -> float:
    """Wait until others leave this process's cores alone, at most so long, and return the seconds that were waited.

    `say` is called once, where it has to wait.
    """
    started = time.monotonic()
    while problems := look().problems():
        waited = time.monotonic() - started
        if waited >= limit_seconds:
            return waited
        if waited < 2 * LOOK_SECONDS:
            say(f"waiting for quiet, at most {limit_seconds:.0f} s: {', '.join(problems)}")
    return time.monotonic() - started


def look() -> Shares:
    """Return what others take of this process's cores while it waits for a moment."""
    before, started = host.activity(), time.monotonic()
    time.sleep(LOOK_SECONDS)
    now, seconds = host.activity() - before, time.monotonic() - started
    return shares(now.busy_cpu_seconds, now.own_cpu_seconds, now.steal_seconds, seconds * host.usable_cores())
