"""The second stage: further runs until the headline is sharp, without a cost in coverage."""

import math
from dataclasses import replace

import numpy as np
import pytest
from unit.examples import record, runs, tried

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.baseline import first_of
from epochbench.aggregate.contrast import count_close
from epochbench.aggregate.disturbed import counting_runs, usual_calibrations
from epochbench.aggregate.more_runs import MOST_RUNS, NO_SECONDS_LEFT, Side, further_runs, plan_more_runs
from epochbench.aggregate.plan import Plan, read_plan, within, write_plan
from epochbench.aggregate.settings import Settings
from epochbench.stats import Spread, half_width, speedup, spread_of
from epochbench.timing.record import seal

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
    disturbed = tried(3, 9.0, "others took 40% of the cores", reached=1e12)
    noisy = [tried(1, 2.0, reached=1e12), tried(2, 2.3, reached=1e12), disturbed]
    plan = plan_more_runs(noisy + runs("cpu-best", STEADY), Settings(), 0.01, 40.0)
    assert plan.runs == {"cpu-reference": 4, "cpu-best": 3}


def test_where_too_few_first_runs_were_undisturbed_others_are_made_in_their_place():
    """Whatever their spread, or else only a spread that looks large by chance would be told anew."""
    noisy = "others took 40% of the cores"
    first = [tried(1, 2.0, noisy, reached=1e12), tried(2, 2.01, noisy, reached=1e12), tried(3, 2.0, reached=1e12)]
    plan = plan_more_runs(first + runs("cpu-best", STEADY), Settings(), 0.1, 100.0)
    assert plan.runs == {"cpu-reference": 5, "cpu-best": 3}
    assert plan.sentence.startswith("Further runs: 2 of cpu-reference")


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


def test_a_budget_that_is_too_small_for_one_cell_goes_to_the_other():
    dear, cheap = Side("dear", Spread(0.1, 3, 3), 20.0), Side("cheap", Spread(0.08, 3, 3), 15.0)
    planned = further_runs([dear, cheap], 0.01, 16.0, 0.95)
    assert (planned.runs, planned.limits) == ({"dear": 3, "cheap": 4}, [NO_SECONDS_LEFT])


def test_runs_of_one_cell_alone_that_would_not_narrow_the_interval_are_not_made():
    elsewhere, here = Side("elsewhere", Spread(0.2, 3, 3), 1.0, is_here=False), Side("here", Spread(0.01, 3, 3), 1.0)
    planned = further_runs([elsewhere, here], 0.01, 30.0, 0.95)
    assert planned.runs == {"elsewhere": 3, "here": 3}
    assert planned.limits[1] == "further runs of here alone would not narrow it"


def test_a_cell_that_was_not_timed_here_gets_no_further_runs_and_the_sentence_says_so():
    imported = [seal(replace(run, cell=replace(run.cell, cell="cpu-best@node7"))) for run in runs("cpu-best", NOISY)]
    plan = plan_more_runs(runs("cpu-reference", NOISY) + imported, Settings(best="cpu-best@node7"), 0.01, 70.0)
    assert plan.runs == {"cpu-reference": 5}
    assert "cpu-best@node7 was not timed here, so that it gets none" in plan.sentence


LEADING, CLOSE = (0.100, 0.090, 0.105), (0.101, 0.100, 0.102)


def after_further_runs(cell="gpu-a", seconds=0.112, **changes):
    """Return first runs of a baseline and two close cells, and further ones in which the leading one is slower."""
    first = runs("cpu-reference", (2.0, 2.02, 2.01)) + runs("gpu-a", LEADING) + runs("gpu-b", CLOSE)
    further = [record(cell, run, [seconds] * 3, **changes) for run in range(4, 12)]
    return first, [seal(replace(run, first_runs=3)) for run in first + further]


def test_the_cell_that_the_first_runs_chose_stays_in_front():
    """Further runs were made of it alone: whichever looked better afterwards would have been lucky."""
    first, every = after_further_runs()
    plan = plan_more_runs(first, Settings(), 0.1, 600.0)
    assert (plan.baseline, plan.best) == ("cpu-reference", "gpu-a")
    for made in (aggregate(every, Settings(), [], plan=plan), aggregate(every, Settings(), [])):
        assert made.headline.best == "gpu-a"
        assert "by all runs gpu-b may be faster, 1.1x" in made.answer[1]
    _, clearly = after_further_runs(seconds=0.2)
    assert "by all runs gpu-b is faster, 1." in aggregate(clearly, Settings(), [], plan=plan).answer[1]


def test_a_plan_keeps_its_cell_as_long_as_that_can_lead():
    """Whatever becomes known later, such as that a first run of it was disturbed."""
    first, _ = after_further_runs()
    other = Plan({}, "Planned.", "cpu-reference", "gpu-b")
    assert aggregate(first, Settings(), [], plan=other).headline.best == "gpu-b"
    wrong = [replace(run, checksum="0" * 64) if run.cell.cell == "gpu-b" else run for run in first]
    assert aggregate(wrong, Settings(), [], plan=other).headline.best == "gpu-a"
    assert aggregate(first, Settings(best="gpu-a"), [], plan=other).headline.best == "gpu-a"


def test_the_last_sentence_has_the_width_that_came_of_it(tmp_path):
    first, every = after_further_runs()
    write_plan(tmp_path / "plan.json", plan_more_runs(first, Settings(), 0.01, 600.0))
    made = aggregate(every, Settings(), [], plan=read_plan(tmp_path / "plan.json"))
    ratio = made.headline.speedup
    assert f"With what was timed since, it is within {within(ratio.high / ratio.estimate - 1)}." in made.answer[1]
    assert read_plan(tmp_path / "none.json") is None


def test_the_interval_of_a_cell_that_was_picked_among_close_ones_allows_for_its_luck():
    rivals = [run for name in "bcd" for run in runs(f"gpu-{name}", CLOSE)]
    records = runs("cpu-reference", (2.0, 2.02, 2.01)) + runs("gpu-a", LEADING) + rivals
    made = aggregate(records, Settings(), [])
    row = next(row for row in made.cells if row.cell == "gpu-a")
    assert made.headline.close == 4
    assert made.headline.speedup.estimate == row.speedup.estimate
    assert made.headline.speedup.low < row.speedup.low
    assert "gpu-a is the fastest of 4 cells that its first runs do not tell apart" in made.answer[1]
    far = [run for name in "bcd" for run in runs(f"gpu-{name}", (0.9, 0.91, 0.9))]
    alone = aggregate(records[:6] + far, Settings(), []).headline
    assert (alone.close, alone.speedup) == (1, row.speedup)
    named = aggregate(records, Settings(best="gpu-a"), []).headline
    assert (named.close, named.speedup) == (1, row.speedup)


def disturbed_first(disturbed, medians):
    """Return runs, three of them first ones, some of which were disturbed."""
    made = [tried(run, median) for run, median in enumerate(medians, start=1)]
    reasons = ["others took 40% of the cores"]
    return [
        seal(replace(one, first_runs=3, tries=[replace(one.tries[0], disturbed_by=reasons * (one.run in disturbed))]))
        for one in made
    ]


@pytest.mark.parametrize(
    ("disturbed", "counting", "first"),
    [
        ((), [1, 2, 3, 4, 5, 6], 3),
        ((2,), [1, 3, 4, 5, 6], 2),  # two of the first stage are enough
        ((2, 3), [1, 4, 5, 6], 3),  # the next ones stand in
        ((1, 2, 3), [4, 5, 6], None),  # as many as the first stage has: all that count
        ((1, 2, 3, 4, 5), [1, 2, 3, 4, 5, 6], 3),  # fewer than two are left, so that all count
    ],
)
def test_which_runs_tell_the_spread_depends_on_what_was_disturbed_and_on_no_time(disturbed, counting, first):
    for medians in ((2.0, 2.2, 2.1, 2.0, 2.1, 2.05), (2.0, 9.0, 1.0, 5.0, 2.1, 2.05)):
        made = disturbed_first(disturbed, medians)
        chosen = counting_runs(made[::-1], usual_calibrations(made))
        assert ([run.run for run in chosen], first_of(chosen)) == (counting, first)


def test_the_best_of_several_equal_cells_is_covered_too():
    """Without allowing for its luck the interval would cover 86 %: benchmarks/coverage.py has the whole table."""
    random, held, unlucky = np.random.default_rng(13), 0, 0
    for _ in range(300):
        base, *cells = (np.exp(random.normal(0, 0.05, (3, 1))).tolist() for _ in range(11))
        base = [[value**0.1] for (value,) in base]
        cells.sort(key=lambda runs: np.log(runs).mean())
        close = count_close(cells[0], cells[1:], 0.95)
        ours, plain = speedup(base, cells[0], close=(1, close)), speedup(base, cells[0])
        held += ours.low <= 1 <= ours.high
        unlucky += plain.low <= 1 <= plain.high
    assert held / 300 >= 0.92
    assert unlucky / 300 < 0.9
