"""The second stage: which cells need how many further runs, until the headline's interval is as narrow as asked for.

Stein's two-stage rule (1945), for two means: the spread is estimated from the first runs alone, and the interval uses
that spread whatever comes later. So the number of runs depends on nothing that the interval's centre depends on, and
stopping costs no coverage (benchmarks/coverage.py).
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from epochbench import wording
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.baseline import epoch_times
from epochbench.aggregate.disturbed import counting_by_cell
from epochbench.aggregate.settings import Settings
from epochbench.files import write_json
from epochbench.stats import Spread, half_width, spread_of
from epochbench.timing.record import Record, runs_by_cell

MOST_RUNS = 40


@dataclass(frozen=True)
class Plan:
    """How many runs each cell has in the end, first ones included, and a sentence that says why."""

    runs: dict[str, int]
    sentence: str


@dataclass(frozen=True)
class Side:
    """One cell of a ratio: how its first runs spread, and what a further one takes."""

    cell: str
    spread: Spread
    run_seconds: float


def plan_more_runs(records: list[Record], settings: Settings, target: float, budget_seconds: float) -> Plan:
    """Return how many runs the headline's cells need until its interval is within the target, or the budget spent."""
    headline = aggregate(records, settings, []).headline
    if headline is None:
        return Plan({}, "There is no ratio yet that further runs could sharpen.")
    timed, counting = runs_by_cell(records), counting_by_cell(records)
    sides = [_side(name, counting[name]) for name in (headline.baseline, headline.best)]
    if any(side.spread.deviation is None for side in sides):
        return Plan({}, "A single run of a cell has no spread, so no further runs were planned.")
    runs, seconds = further_runs(sides, target, budget_seconds, settings.confidence)
    # A run that was disturbed has a number too.
    left_out = {side.cell: len(timed[side.cell]) - side.spread.runs for side in sides}
    numbers = {cell: count + left_out[cell] for cell, count in runs.items()}
    return Plan(numbers, _sentence(sides, runs, seconds, target, settings.confidence))


def further_runs(
    sides: list[Side], target: float, budget_seconds: float, confidence: float
) -> tuple[dict[str, int], float]:
    """Return how many runs each side has in the end, and the seconds that the further ones take.

    Each further run goes where it takes away most variance by the second, until the interval is narrow enough.
    """
    runs, seconds = {side.cell: side.spread.runs for side in sides}, 0.0
    while _width(sides, runs, confidence) > math.log1p(target):
        side = max(sides, key=lambda one: _gain(one, runs[one.cell]))
        if seconds + side.run_seconds > budget_seconds or runs[side.cell] >= MOST_RUNS:
            break
        runs[side.cell] += 1
        seconds += side.run_seconds
    return runs, seconds


def _side(name: str, runs: list[Record]) -> Side:
    return Side(name, spread_of(epoch_times(runs)), mean(run.wall_seconds for run in runs))


def _width(sides: list[Side], runs: dict[str, int], confidence: float) -> float:
    """Return half the width of the logarithmic ratio's interval with so many runs of each side."""
    return half_width([replace(side.spread, runs=runs[side.cell]) for side in sides], confidence)


def _gain(side: Side, count: int) -> float:
    """Return how much variance one further run takes away, by the second that it costs."""
    return side.spread.deviation**2 * (1 / count - 1 / (count + 1)) / side.run_seconds


def _sentence(sides: list[Side], runs: dict[str, int], seconds: float, target: float, confidence: float) -> str:
    first = {one.cell: one.spread.runs for one in sides}
    before, after = (math.expm1(_width(sides, counts, confidence)) for counts in (first, runs))
    added = [f"{runs[cell] - count} of {cell}" for cell, count in first.items() if runs[cell] > count]
    goal = f"aim {_within(target)}"
    if not added and before <= target:
        return f"The first runs give the headline within {_within(before)}; no more are needed."
    if not added:
        allowed = "timing.more_runs_seconds allows no more"
        return f"The first runs give the headline within {_within(before)} ({goal}); {allowed}."
    limited = "" if after <= target else ", as far as timing.more_runs_seconds goes"
    return (
        f"Further runs: {' and '.join(added)}, about {wording.seconds(seconds, 2)}, to bring the headline from "
        f"{_within(before)} to {_within(after)} ({goal}){limited}."
    )


def _within(relative: float) -> str:
    """Write how far an interval reaches: a percentage, or a factor where that says more."""
    if relative >= 1:
        return f"a factor of {wording.significant(1 + relative, 2)}"
    return f"\N{PLUS-MINUS SIGN}{wording.significant(relative * 100, 2)} %"


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write a plan as JSON."""
    write_json(path, {"runs": plan.runs, "sentence": plan.sentence})
