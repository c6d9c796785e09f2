"""The second stage: further runs until the headline is sharp, without a cost in coverage."""

import math

import numpy as np
import pytest
from unit.examples import record, runs, tried

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.more_runs import MOST_RUNS, Side, further_runs, plan_more_runs
from epochbench.aggregate.settings import Settings
from epochbench.stats import Spread, half_width, speedup, spread_of

NOISY = (2.0, 2.3, 2.15)
STEADY = (1.0, 1.01, 1.005)


def two_cells(slow=NOISY, fast=STEADY, **changes):
    return runs("cpu-reference", slow, **changes) + runs("cpu-best", fast, **changes)


def test_a_sharp_headline_needs_no_further_runs():
    plan = plan_more_runs(two_cells(slow=(2.0, 2.01, 2.02)), Settings(), 0.1, 1000.0)
    assert plan.runs == {"cpu-reference": 3, "cpu-best": 3}
    assert "no more are needed" in plan.sentence


def test_further_runs_go_to_the_cell_that_spreads():
    plan = plan_more_runs(two_cells(), Settings(), 0.1, 10_000.0)
    assert plan.runs["cpu-best"] == 3
    assert plan.runs["cpu-reference"] > 3
    assert f"Further runs: {plan.runs['cpu-reference'] - 3} of cpu-reference" in plan.sentence
    assert "allows no more" not in plan.sentence


def test_the_budget_bounds_them_and_the_sentence_says_so():
    # Each run of the examples takes 30 s.
    plan = plan_more_runs(two_cells(), Settings(), 0.01, 70.0)
    assert sum(plan.runs.values()) == 6 + 2
    assert plan.sentence.endswith("; timing.more_runs_seconds allows no more.")
    none = plan_more_runs(two_cells(), Settings(), 0.01, 0.0)
    assert sum(none.runs.values()) == 6
    assert "allows no more" in none.sentence


def test_a_disturbed_run_has_a_number_too():
    """Of three runs one was left out: with one further run there are four records of the cell."""
    noisy = [tried(1, 2.0), tried(2, 2.3), tried(3, 9.0, "others took 40% of the cores")]
    plan = plan_more_runs(noisy + runs("cpu-best", STEADY), Settings(), 0.01, 40.0)
    assert plan.runs == {"cpu-reference": 4, "cpu-best": 3}


def test_no_cell_gets_runs_without_end():
    wild = [Side("a", Spread(5.0, 3, 3), 1e-9), Side("b", Spread(5.0, 3, 3), 1e-9)]
    planned = further_runs(wild, 0.1, 1e9, 0.95)
    assert set(planned.runs.values()) == {MOST_RUNS}
    assert planned.limits == [f"{cell} has 40 runs, and no cell gets more" for cell in "ab"]


def test_where_there_is_no_ratio_or_no_spread_nothing_is_planned():
    assert plan_more_runs(runs(), Settings(), 0.1, 100.0).runs == {}
    assert plan_more_runs([record(), record("cpu-best")], Settings(), 0.1, 100.0).runs == {}


def test_the_interval_takes_its_spread_from_the_first_runs_alone():
    """So whatever decided how many runs there are, the interval does not know it (Stein 1945)."""
    first, further = [[2.0], [2.3], [2.15]], [[2.1], [2.12]]
    other = [[1.0], [1.01], [1.005]]
    sharp = speedup(first + further, other, first=(3, None))
    assert sharp.estimate == pytest.approx(speedup(first + further, other).estimate)
    centre, half = (
        math.log(sharp.estimate),
        half_width([Spread(spread_of(first).deviation, 3, 5), spread_of(other)], 0.95),
    )
    assert (sharp.low, sharp.high) == pytest.approx((math.exp(centre - half), math.exp(centre + half)))


def test_the_summary_knows_which_runs_came_first():
    records = two_cells(first_runs=3) + [record("cpu-reference", run, [2.1] * 3, first_runs=3) for run in (4, 5)]
    ratio = aggregate(records, Settings(), []).headline
    expected = speedup([[2.0], [2.3], [2.15], [2.1], [2.1]], [[1.0], [1.01], [1.005]], first=(3, None))
    best = next(row for row in aggregate(records, Settings(), []).cells if row.cell == ratio.best)
    assert best.speedup.low == pytest.approx(expected.low)
    assert best.speedup.high == pytest.approx(expected.high)


def simulated(random, spreads):
    """Return whether the interval holds the true ratio of 1, after first and further runs with these spreads."""
    draws = [random.normal(0, spread, 60) for spread in spreads]
    first = [[[math.exp(value)] for value in draw[:3]] for draw in draws]
    sides = [Side(name, spread_of(runs), 10.0) for name, runs in zip("ab", first, strict=True)]
    counts = further_runs(sides, 0.1, 150.0, 0.95).runs
    every = [[[math.exp(value)] for value in draw[: counts[name]]] for name, draw in zip("ab", draws, strict=True)]
    ratio = speedup(*every, first=(3, 3))
    return ratio.low <= 1 <= ratio.high


@pytest.mark.parametrize("spreads", [(0.02, 0.02), (0.1, 0.005)])
def test_stopping_when_it_is_sharp_costs_no_coverage(spreads):
    """With the spread of all runs the second would cover 91 %; benchmarks/coverage.py has the whole table."""
    random = np.random.default_rng(13)
    covered = np.mean([simulated(random, spreads) for _ in range(1000)])
    assert 0.925 <= covered <= 0.98
