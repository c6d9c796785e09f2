"""Whether the machine was left alone while a run was timed: decided from its conditions, never from the epoch times."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from epochbench.timing.machine import host
from epochbench.timing.record import GpuState, GpuWatch, Try

MAX_OTHERS_SHARE = 0.05
MAX_STEAL_SHARE = 0.02
# Below this share of the best matrix product that the machine reached, something held it back. Undisturbed, the lowest
# of ten runs on 16 Xeon cores in a virtual machine was 0.62 of the highest, on two cores 0.89, on H100s 0.98.
MIN_CALIBRATION_SHARE = 0.6
# Of the looks at the card. What a card's own work brings about, such as its power cap, is there in the next try too.
MAX_HELD_SHARE = 0.05
OWN_LIMITS = ("power cap",)
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


def shares(other_seconds: float, steal_seconds: float | None, core_seconds: float) -> Shares:
    """Return what was taken of so many core seconds: by others, by the hypervisor."""
    return Shares(other_seconds / core_seconds, None if steal_seconds is None else steal_seconds / core_seconds)


def disturbances(
    lost: Shares, flop_per_second: float, best_flop_per_second: float | None, watch: GpuWatch | None = None
) -> list[str]:
    """Return what disturbed a timing, in words; an empty list where nothing did.

    `flop_per_second` is what the matrix product reached just after the clock, `best_flop_per_second` the best that
    this machine is known to reach with as many threads or on one card, None where that is unknown; `watch` is what was
    seen of the cards meanwhile.
    """
    told = lost.problems()
    if watch:
        told += on_the_card(watch.processes) + slowed_from_outside(watch)
    if is_held_back(flop_per_second, best_flop_per_second):
        told.append(f"the matrix product reached {flop_per_second / best_flop_per_second:.0%} of this machine's best")
    return told


def is_held_back(flop_per_second: float, best_flop_per_second: float | None) -> bool:
    """Tell whether a matrix product is so far below the best that something held it back; where that is known."""
    return best_flop_per_second is not None and flop_per_second < MIN_CALIBRATION_SHARE * best_flop_per_second


def on_the_card(processes: int | None) -> list[str]:
    """Return in words that others compute on the card, an empty list where none do or nobody tells."""
    return [f"{processes} other process{'es' if processes > 1 else ''} on the card"] if processes else []


def slowed_from_outside(watch: GpuWatch) -> list[str]:
    """Return what but the card's own work held its clocks down: heat, or the machine's brake."""
    held = {name: share for name, share in (watch.held_shares or {}).items() if name not in OWN_LIMITS}
    return [f"{name} in {share:.0%} of the looks" for name, share in held.items() if share > MAX_HELD_SHARE]


def is_disturbed(one: Try) -> bool:
    """Tell whether a try was disturbed."""
    return bool(one.disturbed_by)


def wait_for_quiet(
    limit_seconds: float, say: Callable[[str], None], card: Callable[[], GpuState | None] = lambda: None
) -> float:
    """Wait until others leave this process's cores and card alone, at most so long, and return the seconds waited.

    `say` is called once, where it has to wait; `card` tells the card's state, None where there is none.
    """
    started = time.monotonic()
    while problems := look().problems() + _neighbours(card()):
        waited = time.monotonic() - started
        if waited >= limit_seconds:
            return waited
        if waited < 2 * LOOK_SECONDS:
            say(f"waiting for quiet, at most {limit_seconds:.0f} s: {', '.join(problems)}")
    return time.monotonic() - started


def look() -> Shares:
    """Return what others take of this process's cores while it waits for a moment."""
    before = host.activity()
    time.sleep(LOOK_SECONDS)
    return taken(host.activity() - before)


def taken(meanwhile: host.Activity) -> Shares:
    """Return what others took between two readings of this process's counters."""
    return shares(meanwhile.other_cpu_seconds, meanwhile.stolen_seconds, meanwhile.at_seconds * meanwhile.usable)


def _neighbours(state: GpuState | None) -> list[str]:
    return on_the_card(state.processes) if state else []
