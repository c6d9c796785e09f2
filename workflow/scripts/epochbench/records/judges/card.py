"""Whether the accelerator was left alone and at its full clock."""

from epochbench.records.judges import Verdict
from epochbench.timing.quiet import MAX_HELD_SHARE, on_the_card
from epochbench.timing.record import GpuState, GpuWatch, Record

# Cards step through clocks a percent apart, and end a boost some steps below their highest.
MIN_CLOCK_SHARE = 0.9
# Of the time watched; the driver counts microseconds of violation on any card.
MAX_VIOLATION_SHARE = 0.02


def full_clock(record: Record) -> Verdict:
    """Nothing held the accelerator's clocks down and nobody else computed on it, before, during or after the epochs."""
    conditions = record.conditions
    states = [state for state in (conditions.gpu_before, conditions.gpu_after) if state]
    watch = conditions.gpu_watch
    reasons = _held(states) + (_held_meanwhile(watch) if watch else [])
    if reasons:
        return False, f"Clocks held down, or the card shared: {', '.join(dict.fromkeys(reasons))}."
    if not _tells_of_clocks(states, watch):
        return None, "No accelerator tells why its clocks are held down."
    clock = _clock(watch) if watch else ""
    alone = "" if _tells_of_others(states, watch) else " Whether others computed on the card is unknown."
    return True, f"Clocks held down by: nothing.{clock}{alone}"


def _tells_of_clocks(states: list[GpuState], watch: GpuWatch | None) -> bool:
    """Tell whether the driver said anything by which the clocks can be judged; how high they are at once is nothing."""
    known = [state.throttle_reasons for state in states]
    if watch:
        clock = watch.sm_clock_median_mhz and watch.sm_clock_max_mhz
        known += [watch.held_shares, watch.violation_seconds, clock]
    return any(part is not None for part in known)


def _tells_of_others(states: list[GpuState], watch: GpuWatch | None) -> bool:
    """Tell whether the driver said who else was there."""
    return any(one.processes is not None for one in (*states, watch) if one)


def _held(states: list[GpuState]) -> list[str]:
    """Return what held the clocks down just before and after, and who else was there."""
    reasons = [reason for state in states for reason in state.throttle_reasons or []]
    return reasons + on_the_card(max((state.processes or 0 for state in states), default=0))


def _held_meanwhile(watch: GpuWatch) -> list[str]:
    """Return what held the clocks down while the clock ran, and who else was there."""
    reasons = [
        f"{name} in {share:.0%} of the looks"
        for name, share in (watch.held_shares or {}).items()
        if share > MAX_HELD_SHARE
    ]
    reasons += [
        f"{kind} violation for {seconds:.2g} s"
        for kind, seconds in (watch.violation_seconds or {}).items()
        if seconds > MAX_VIOLATION_SHARE * watch.seconds
    ]
    median, most = watch.sm_clock_median_mhz, watch.sm_clock_max_mhz
    if median is not None and most and median < MIN_CLOCK_SHARE * most:
        reasons.append(f"{median} MHz of {most} MHz")
    return reasons + on_the_card(watch.processes)


def _clock(watch: GpuWatch) -> str:
    if watch.sm_clock_median_mhz is None:
        return ""
    return f" {watch.sm_clock_median_mhz} MHz of {watch.sm_clock_max_mhz or 'unknown'} MHz while the clock ran."
