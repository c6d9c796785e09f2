"""What changed since an export, cell by cell; and whether it is a regression."""

from dataclasses import dataclass, replace

from epochbench import wording
from epochbench.aggregate.baseline import epoch_times
from epochbench.errors import BenchmarkError
from epochbench.stats import Interval, speedup, verdict
from epochbench.timing.record import Record, runs_by_cell


@dataclass(frozen=True)
class Comparison:
    """One cell then and now: `ratio` is how many times faster it is now; None where one side is missing."""

    cell: str
    ratio: Interval | None
    verdict: str
    note: str = ""


def compare(before: list[Record], now: list[Record], confidence: float, threshold: float) -> list[Comparison]:
    """Compare two sets of records cell by cell: FASTER, SLOWER, SAME, AMBIGUOUS, or why there is nothing to compare."""
    old, new = runs_by_cell(before), runs_by_cell(now)
    return [_compare_cell(name, old.get(name), new.get(name), confidence, threshold) for name in {**new, **old}]


def _compare_cell(name, old, new, confidence, threshold) -> Comparison:
    if not old or not new:
        return Comparison(name, None, "MISSING", "not in the base" if new else "not here")
    if old[0].dataset.fingerprint != new[0].dataset.fingerprint:
        return Comparison(name, None, "MISSING", "trained on other data")
    if replace(old[0].cell, cell="") != replace(new[0].cell, cell=""):
        return Comparison(name, None, "MISSING", "the cell sets something else")
    ratio = speedup(epoch_times(old), epoch_times(new), confidence)
    notes = []
    if old[0].machine.fingerprint != new[0].machine.fingerprint:
        notes.append("other machine")
    if old[0].code.digest != new[0].code.digest:
        notes.append("other timing code")
    return Comparison(name, ratio, verdict(ratio, threshold), ", ".join(notes))


def regressions(comparisons: list[Comparison], threshold: float) -> list[Comparison]:
    """Return the cells that are surely slower, by more than the threshold (0.05 is 5 percent more time)."""
    return [one for one in comparisons if one.verdict == "SLOWER" and one.ratio.estimate < 1 / (1 + threshold)]


def refuse_regressions(comparisons: list[Comparison], threshold: float) -> None:
    """Raise BenchmarkError where a cell has become slower than the threshold allows."""
    slower = regressions(comparisons, threshold)
    if slower:
        named = "; ".join(f"{one.cell} {wording.ratio_with_interval(one.ratio)}" for one in slower)
        raise BenchmarkError(f"slower than compare.threshold {threshold:g} allows: {named}")
