"""The second stage: which cells need how many further runs, until the headline's interval is as narrow as asked for.

Stein's two-stage rule (1945), for two means: the spread is estimated from the first runs alone, and the interval uses
that spread whatever comes later. So the number of runs depends on nothing that the interval's centre depends on, and
stopping costs no coverage. The two cells are those that the first runs chose, and stay so; that the faster of them was
picked as the fastest of several, its interval allows for (stats.Spread). benchmarks/coverage.py simulates all of it.
"""

import math
from dataclasses import dataclass, replace
from statistics import mean

from epochbench import wording
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.baseline import epoch_times
from epochbench.aggregate.disturbed import Usual, counting_by_cell, disturbed_by, usual_calibrations
from epochbench.aggregate.plan import Plan, within
from epochbench.aggregate.settings import Settings
from epochbench.stats import Spread, half_width, spread_of
from epochbench.timing.cell import is_imported
from epochbench.timing.record import Record, runs_by_cell

MOST_RUNS = 40
NO_SECONDS_LEFT = "timing.more_runs_seconds allows no more"


@dataclass(frozen=True)
class Side:
    """One cell of a ratio: how its first runs spread, what a further one takes, and whether it can be run here.

    `missing` is how many of its first runs have to be made again, since those that count were disturbed.
    """

    cell: str
    spread: Spread
    run_seconds: float
    is_here: bool = True
    missing: int = 0


@dataclass(frozen=True)
class Further:
    """How many runs count on each side in the end, what the further ones take, and why there are no more of them.

    `added` is how many runs are made of each side, those in the place of disturbed ones included.
    """

    runs: dict[str, int]
    added: dict[str, int]
    seconds: float
    limits: list[str]


def plan_more_runs(records: list[Record], settings: Settings, target: float, budget_seconds: float) -> Plan:
    """Return how many runs the headline's cells need until its interval is within the target, or the budget spent."""
    headline = aggregate(records, settings, []).headline
    if headline is None:
        return Plan({}, "There is no ratio yet that further runs could sharpen.")
    chosen = {"baseline": headline.baseline, "best": headline.best}
    timed, counting = runs_by_cell(records), counting_by_cell(records)
    pair = ((headline.baseline, 1), (headline.best, headline.close))
    usual = usual_calibrations(records)
    sides = [_side(name, counting[name], close, usual) for name, close in pair]
    if any(side.spread.deviation is None for side in sides):
        return Plan({}, "A single run of a cell has no spread, so no further runs were planned.", **chosen)
    planned = further_runs(sides, target, budget_seconds, settings.confidence)
    # A run that was disturbed has a number too.
    numbers = {side.cell: len(timed[side.cell]) + planned.added[side.cell] for side in sides if side.is_here}
    sentence = _sentence(sides, planned, target, settings.confidence)
    return Plan(numbers, sentence, **chosen, further=planned.seconds > 0)


def further_runs(sides: list[Side], target: float, budget_seconds: float, confidence: float) -> Further:
    """Return how many runs each side has in the end.

    First come those in the place of disturbed ones: whether they come must not depend on the spread. Each further run
    goes where it narrows the interval most by the second, among those that the budget still allows.
    """
    runs, added, seconds = {side.cell: side.spread.runs for side in sides}, {side.cell: 0 for side in sides}, 0.0
    for side in sides:
        if seconds + side.missing * side.run_seconds <= budget_seconds:
            added[side.cell] += side.missing
            seconds += side.missing * side.run_seconds
    while (width := _width(sides, runs, confidence)) > math.log1p(target):
        limits = {side.cell: _limit(side, runs[side.cell], budget_seconds - seconds) for side in sides}
        gains = {
            side: (width - _width(sides, runs | {side.cell: runs[side.cell] + 1}, confidence)) / side.run_seconds
            for side in sides
            if limits[side.cell] is None
        }
        side = max(gains, key=gains.get, default=None)
        if side is None or gains[side] <= 0:
            useless = [f"further runs of {side.cell} alone would not narrow it"] if side else []
            return Further(runs, added, seconds, list(dict.fromkeys([*filter(None, limits.values()), *useless])))
        runs[side.cell] += 1
        added[side.cell] += 1
        seconds += side.run_seconds
    return Further(runs, added, seconds, [])


def _limit(side: Side, count: int, seconds_left: float) -> str | None:
    """Return why a side cannot have one run more, None where it can."""
    if not side.is_here:
        return f"{side.cell} was not timed here, so that it gets none"
    if count >= MOST_RUNS:
        return f"{side.cell} has {MOST_RUNS} runs, and no cell gets more"
    return NO_SECONDS_LEFT if side.run_seconds > seconds_left else None


def _side(name: str, runs: list[Record], close: int, usual: Usual) -> Side:
    spread, is_here = replace(spread_of(epoch_times(runs)), close=close), not is_imported(name)
    disturbed = sum(bool(disturbed_by(run, usual)) for run in runs) if is_here else 0
    return Side(name, spread, mean(run.wall_seconds for run in runs), is_here, disturbed)


def _width(sides: list[Side], runs: dict[str, int], confidence: float) -> float:
    """Return half the width of the logarithmic ratio's interval with so many runs of each side."""
    return half_width([replace(side.spread, runs=runs[side.cell]) for side in sides], confidence)


def _sentence(sides: list[Side], planned: Further, target: float, confidence: float) -> str:
    first = {one.cell: one.spread.runs for one in sides}
    before, after = (math.expm1(_width(sides, counts, confidence)) for counts in (first, planned.runs))
    added = [f"{count} of {cell}" for cell, count in planned.added.items() if count]
    limited = f"; {'; '.join(planned.limits)}" if planned.limits else ""
    if added:
        return (
            f"Further runs: {' and '.join(added)}, about {wording.seconds(planned.seconds, 2)}, planned to bring the "
            f"headline from {within(before)} to {within(after)} (aim {within(target)}){limited}."
        )
    if limited:
        return f"The first runs give the headline within {within(before)} (aim {within(target)}){limited}."
    return f"The first runs give the headline within {within(before)}; no more are needed."
