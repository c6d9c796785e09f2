"""A look at the card while the clock runs, from a process of its own: clocks, power, violations, other processes.

The process that trains starts this file as a module, waits until it has looked once, and closes its input when the
clock has stopped; the answer comes back as JSON. A look takes the host about a millisecond, five times a second.
"""

import contextlib
import importlib
import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from statistics import median

from epochbench.documents import from_dict, to_dict
from epochbench.timing.record import GpuState, GpuWatch

LOOK_EVERY_SECONDS = 0.2
# Until the driver has answered once, and until the summary is written.
PATIENCE_SECONDS = 20
READY = "ready"


class Watching:
    """What is being watched; `seen` is None until the watch has ended, and where it told nothing."""

    seen: GpuWatch | None = None


@contextlib.contextmanager
def watched(driver: str, identity: str | None, own: Collection[int] = ()) -> Iterator[Watching]:
    """Watch a card for a while, from another process. Where nobody can, `seen` stays None.

    `driver` is the module of devices/drivers/ that looks; `identity` is what it knows the card by. `own` are the
    processes there that are ours, by default this one.
    """
    watching = Watching()
    watcher = None if identity is None else _started(driver, identity, own or {os.getpid()})
    try:
        yield watching
    finally:
        if watcher is not None:
            watching.seen = _answer(watcher)


def _started(driver: str, identity: str, own: Collection[int]) -> subprocess.Popen | None:
    """Start the process that watches and wait until it has looked once; None where it cannot."""
    command = [sys.executable, "-m", "epochbench.timing.machine.watch", driver, identity, *map(str, own)]
    paths = [str(Path(__file__).parents[3]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    watcher = subprocess.Popen(command, env=environment, text=True, **pipes)
    ready, _, _ = select.select([watcher.stdout], [], [], PATIENCE_SECONDS)
    if ready and watcher.stdout.readline().strip() == READY:
        return watcher
    watcher.kill()
    watcher.communicate()
    return None


def _answer(watcher: subprocess.Popen) -> GpuWatch | None:
    """Tell the process that the clock has stopped, and return what it saw."""
    try:
        told_, _ = watcher.communicate(timeout=PATIENCE_SECONDS)
        return from_dict(GpuWatch, json.loads(told_))
    except (subprocess.TimeoutExpired, ValueError, TypeError, KeyError):
        watcher.kill()
        watcher.communicate()
        return None


def main(driver: str, identity: str, *own: str) -> None:
    """Be the process that watches: look until the input ends, then write what was seen."""
    with importlib.import_module(driver).looking(identity, set(map(int, own))) as card:
        looks, began = [card.now()], time.monotonic()
        before = card.violations()
        print(READY, flush=True)
        while not select.select([sys.stdin], [], [], LOOK_EVERY_SECONDS)[0]:
            looks.append(card.now())
        after, seconds = card.violations(), time.monotonic() - began
        most = card.most_mhz()
    # The first look was before the clock started.
    print(json.dumps(to_dict(summarised(looks[1:] or looks, most, seconds, _between(before, after)))))


def _between(before: dict[str, float] | None, after: dict[str, float] | None) -> dict[str, float] | None:
    """Return the seconds between two readings, None where either is unknown; a counter that ran backwards is too."""
    if before is None or after is None:
        return None
    return {kind: after[kind] - before[kind] for kind in before if after.get(kind, -1.0) >= before[kind]} or None


def summarised(
    looks: list[tuple[GpuState, float | None, bool]],
    most_mhz: int | None,
    seconds: float,
    violation_seconds: dict[str, float] | None,
) -> GpuWatch:
    """Return the looks in a few numbers; clocks and what holds them down count where the card was not idle."""
    busy = [state for state, _, idle in looks if not idle]
    clocks = [state.sm_clock_mhz for state in busy if state.sm_clock_mhz is not None]
    watts = [power for _, power, _ in looks if power is not None]
    others = [state.processes for state, _, _ in looks if state.processes is not None]
    reasons = [state.throttle_reasons for state in busy if state.throttle_reasons is not None]
    names = dict.fromkeys(name for each in reasons for name in each)
    return GpuWatch(
        samples=len(looks),
        seconds=round(seconds, 3),
        sm_clock_min_mhz=min(clocks, default=None),
        sm_clock_median_mhz=round(median(clocks)) if clocks else None,
        sm_clock_max_mhz=most_mhz,
        power_median_watts=median(watts) if watts else None,
        held_shares={name: sum(name in each for each in reasons) / len(reasons) for name in names} if reasons else None,
        violation_seconds=violation_seconds,
        processes=max(others, default=None),
    )


def together(watches: Iterable[GpuWatch | None]) -> GpuWatch | None:
    """Return what was seen of all cards of a team: of each the worst, the watts in all; None where nobody watched."""
    seen = [watch for watch in watches if watch is not None]
    if not seen:
        return None
    slowest = min(seen, key=_clock_share)
    powers = _known(watch.power_median_watts for watch in seen)
    return GpuWatch(
        samples=sum(watch.samples for watch in seen),
        seconds=max(watch.seconds for watch in seen),
        sm_clock_min_mhz=min(_known(watch.sm_clock_min_mhz for watch in seen), default=None),
        sm_clock_median_mhz=slowest.sm_clock_median_mhz,
        sm_clock_max_mhz=slowest.sm_clock_max_mhz,
        power_median_watts=sum(powers) if len(powers) == len(seen) else None,
        held_shares=_most(watch.held_shares for watch in seen),
        violation_seconds=_most(watch.violation_seconds for watch in seen),
        processes=max(_known(watch.processes for watch in seen), default=None),
    )


def states_together(states: Iterable[GpuState | None]) -> GpuState | None:
    """Return the worst of what the driver said of a team's cards at one moment; None where it said nothing."""
    seen = [state for state in states if state is not None]
    if not seen:
        return None
    reasons = _known(state.throttle_reasons for state in seen)
    return GpuState(
        sm_clock_mhz=min(_known(state.sm_clock_mhz for state in seen), default=None),
        memory_clock_mhz=min(_known(state.memory_clock_mhz for state in seen), default=None),
        temperature_celsius=max(_known(state.temperature_celsius for state in seen), default=None),
        power_limit_watts=min(_known(state.power_limit_watts for state in seen), default=None),
        throttle_reasons=list(dict.fromkeys(name for each in reasons for name in each)) if reasons else None,
        processes=max(_known(state.processes for state in seen), default=None),
    )


def _known(values: Iterable) -> list:
    return [value for value in values if value is not None]


def _clock_share(watch: GpuWatch) -> float:
    """Return which part of its highest clock a card had; infinite where that is unknown."""
    known = watch.sm_clock_median_mhz is not None and watch.sm_clock_max_mhz
    return watch.sm_clock_median_mhz / watch.sm_clock_max_mhz if known else math.inf


def _most(counts: Iterable[dict[str, float] | None]) -> dict[str, float] | None:
    """Return the most of each kind over several cards, None where none of them tells."""
    told_ = _known(counts)
    kinds = dict.fromkeys(kind for each in told_ for kind in each)
    return {kind: max(each.get(kind, 0.0) for each in told_) for kind in kinds} if told_ else None


if __name__ == "__main__":
    main(*sys.argv[1:])
