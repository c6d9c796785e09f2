import numpy as np
import pytest
from scipy import optimize, special, stats

from epochbench.aggregate.compare import judge_together
from epochbench.aggregate.contrast import (
    Contrast,
    cautious,
    contrast,
    p_value,
    ratio_of,
    smallest_slowdown,
    verdicts,
)
from epochbench.aggregate.moderated import moderated
from epochbench.aggregate.outcome import conclude
from epochbench.aggregate.settings import Settings
from epochbench.stats import (
    Interval,
    holm,
    less_time,
    outliers,
    relative_spread,
    replay,
    simultaneous,
    speedup,
    typical_epoch,
    verdict,
)
from epochbench.timing.stopping import relative_half_width, t_quantile

RUNS = [[2.0, 2.1, 1.9], [2.2, 2.2, 2.3], [2.1, 2.0, 2.2]]
FAST = [[1.0, 1.1], [1.2, 1.1], [0.9, 1.0]]


def test_the_epoch_time_is_the_geometric_mean_of_the_runs_medians():
    assert typical_epoch(RUNS).estimate == pytest.approx((2.0 * 2.2 * 2.1) ** (1 / 3))


def test_the_interval_is_students_on_the_logarithms():
    logs = np.log([2.0, 2.2, 2.1])
    low, high = stats.t.interval(0.9, 2, logs.mean(), stats.sem(logs))
    found = typical_epoch(RUNS, confidence=0.9)
    assert (found.low, found.high) == pytest.approx((np.exp(low), np.exp(high)))


def test_the_speedup_interval_is_welchs():
    welch = stats.ttest_ind(np.log([2.0, 2.2, 2.1]), np.log([1.05, 1.15, 0.95]), equal_var=False)
    interval = welch.confidence_interval(0.95)
    found = speedup(RUNS, FAST)
    assert (found.low, found.high) == pytest.approx((np.exp(interval.low), np.exp(interval.high)))


def test_the_speedup_is_the_ratio_of_the_epoch_times_shown():
    assert speedup(RUNS, FAST).estimate == pytest.approx(typical_epoch(RUNS).estimate / typical_epoch(FAST).estimate)


def test_epochs_of_one_run_are_no_independent_samples():
    """A hundred more epochs in the same runs must not make the interval narrower."""
    assert speedup([run * 100 for run in RUNS], FAST) == speedup(RUNS, FAST)


def test_one_run_has_an_estimate_and_no_interval():
    assert speedup([[3.0]], FAST) == Interval(None, pytest.approx(3 / (1.05 * 1.15 * 0.95) ** (1 / 3)), None)
    assert typical_epoch([[3.0, 5.0]]) == Interval(None, pytest.approx(4.0), None)


def test_runs_without_spread_have_an_interval_without_width():
    assert speedup([[2.0], [2.0]], [[1.0], [1.0]]) == Interval(pytest.approx(2), pytest.approx(2), pytest.approx(2))


@pytest.mark.parametrize("runs", [[], [[]], [[1.0], []]])
def test_nothing_measured_is_an_error(runs):
    with pytest.raises(ValueError, match="at least one"):
        speedup(runs, FAST)


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (Interval(1.5, 2.0, 2.5), "FASTER"),
        (Interval(0.4, 0.5, 0.6), "SLOWER"),
        (Interval(0.99, 1.0, 1.01), "SAME"),
        (Interval(1.001, 1.01, 1.015), "SAME"),
        (Interval(0.9, 1.2, 1.6), "AMBIGUOUS"),
        (Interval(None, 5.0, None), "AMBIGUOUS"),
        (Interval(1.005, 1.015, 1.03), "AMBIGUOUS"),
    ],
)
def test_verdicts(interval, expected):
    assert verdict(interval, threshold=0.02) == expected


def test_half_width_needs_three_samples():
    assert relative_half_width([1.0, 1.0]) == float("inf")
    expected = stats.sem([1.0, 1.1, 1.2]) * stats.t.ppf(0.975, 2) / 1.1
    assert relative_half_width([1.0, 1.1, 1.2]) == pytest.approx(expected)


@pytest.mark.parametrize("freedom", [1, 2, 3, 4, 9, 30, 101, 999])
def test_the_quantile_is_students(freedom):
    assert t_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-12)


def test_the_published_speedup_is_99_5x_and_98_99_percent_less_time():
    ratio = 82.470 / 0.828756
    assert ratio == pytest.approx(99.5, abs=0.05)
    assert less_time(ratio) == pytest.approx(0.98995, abs=1e-5)


def test_the_same_samples_are_replayed_by_other_estimators():
    slow, fast = [[4.0, 4.0, 10.0]], [[1.0, 2.0, 2.0]]
    scored = replay(slow, fast)
    assert scored["minimum, as @btime prints"] == 4
    assert scored["median"] == 2
    assert scored["mean"] == pytest.approx(18 / 5)
    many = [[1.0] * 9 + [100.0] * 1]
    assert replay(many, [[1.0] * 10])["mean without the outer tenths"] == 1


def test_outliers_are_counted_by_tukeys_fences():
    assert outliers([1.0, 1.01, 0.99, 1.0, 1.02, 3.0]) == 1
    assert outliers([1.0, 1.01, 0.99]) == 0


def test_the_spread_is_of_the_runs_medians():
    assert relative_spread([[1.0, 1.0, 9.0], [1.2, 1.2, 0.1]]) == pytest.approx(0.1414 / 1.1, rel=1e-3)
    assert relative_spread([[1.0, 2.0]]) is None


def test_a_contrast_is_welchs_test():
    found = contrast(RUNS, FAST)
    welch = stats.ttest_ind(np.log([2.0, 2.2, 2.1]), np.log([1.05, 1.15, 0.95]), equal_var=False)
    assert (p_value(found), found.freedom) == pytest.approx((welch.pvalue, welch.df))
    interval, shown = ratio_of(found, 0.9), speedup(RUNS, FAST, 0.9)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((shown.low, shown.estimate, shown.high))
    assert ratio_of(contrast([[3.0]], FAST)).low is None


def test_holms_levels_are_stepped_down_until_one_comparison_fails():
    """0.04 fails at 0.05 / 2, so that 0.045 is not held against 0.05 either."""
    levels = [1 - confidence for confidence in holm([0.04, 0.001, 0.01, 0.045], 0.95)]
    assert levels == pytest.approx([0.05 / 2, 0.05 / 4, 0.05 / 3, 0.05 / 2])
    assert holm([], 0.95) == []


def test_many_comparisons_hold_together_at_a_higher_confidence():
    assert simultaneous(0.95, 10) == pytest.approx(0.995)
    assert simultaneous(0.95, 0) == simultaneous(0.95, 1) == pytest.approx(0.95)


def test_what_one_comparison_shows_many_need_not():
    """A p-value of 0.02 is a difference by itself, and chance among twenty."""
    sure = Contrast(0.1, 0.1 / stats.t.ppf(0.99, 4), 4.0, (3, 3))
    equal = Contrast(0.0, 0.05, 4.0, (3, 3))
    assert verdicts([sure], 0.95, 0.02) == ["FASTER"]
    assert verdicts([sure] + 19 * [equal], 0.95, 0.02) == 20 * ["AMBIGUOUS"]


def test_a_cell_with_one_run_costs_the_others_nothing():
    sure = Contrast(0.1, 0.1 / stats.t.ppf(0.99, 4), 4.0, (3, 3))
    assert verdicts([sure] + 19 * [contrast([[1.0]], [[2.0]])], 0.95, 0.02) == ["FASTER"] + 19 * ["AMBIGUOUS"]


def drawn(random, counts, spread):
    """Return the runs of equal cells, one number of runs for each."""
    return [np.exp(random.normal(0, spread, (count, 1))).tolist() for count in counts]


# The true shares are below 3 %; among so many seeded sheets that is at most 5 % with two standard deviations to spare.
SHEETS = 200
AT_MOST = 0.05


@pytest.mark.parametrize(("spread", "baseline_runs"), [(0.02, 3), (0.05, 3), (0.05, 10)])
def test_of_sheets_of_14_equal_cells_hardly_one_says_faster_or_slower(spread, baseline_runs):
    """Judged one by one, 40 % of them did; by Satterthwaite's degrees of freedom, 11 % with ten runs of a baseline."""
    random, false = np.random.default_rng(13), 0
    for _ in range(SHEETS):
        baseline, *cells = drawn(random, [baseline_runs] + 13 * [3], spread)
        words = verdicts([cautious(contrast(baseline, cell)) for cell in cells], 0.95, 0.02)
        false += bool({"FASTER", "SLOWER"} & set(words))
    assert false / SHEETS <= AT_MOST


def outcomes(spread, cells, slowdown=1.0, sheets=SHEETS):
    """Return what comes of comparing equal exports of so many cells, but for a slowdown of the first cell."""
    random, words = np.random.default_rng(13), []
    for _ in range(sheets):
        before, now = (drawn(random, cells * [3], spread) for _ in range(2))
        now[0] = [[seconds * slowdown for seconds in run] for run in now[0]]
        pairs = {f"cpu-{place}": contrast(*sides) for place, sides in enumerate(zip(before, now, strict=True))}
        words.append(conclude(list(judge_together(pairs, Settings(), 0.05).values()), [], 0.05, "pass").word)
    return words


@pytest.mark.parametrize("cells", [8, 14])
@pytest.mark.parametrize("spread", [0.02, 0.05])
def test_hardly_a_comparison_of_equal_exports_ends_with_an_error(spread, cells):
    """Judged one by one, 19 % of them did at a spread of 5 % and 14 cells."""
    words = outcomes(spread, cells)
    assert words.count("regression") / SHEETS <= AT_MOST
    assert set(words) <= {"regression", "unsure", "same", "faster"}


def test_three_runs_find_a_slowdown_of_10_percent_among_14_cells_at_a_spread_of_2_percent():
    """Welch's test by Holm's rule, cell by cell, would find 3 of 10; the cells' common spread makes the difference."""
    assert outcomes(0.02, 14, slowdown=1.1, sheets=100).count("regression") >= 90


def test_cells_that_spread_alike_share_one_spread_and_all_degrees_of_freedom():
    pairs = [Contrast(0.1, error, 4.0, (3, 3)) for error in (0.019, 0.020, 0.021, 0.022)]
    found = moderated(pairs)
    assert len({pair.error for pair in found}) == 1
    assert found[0].freedom == 16
    assert [pair.difference for pair in found] == [0.1] * 4


def test_cells_with_spreads_of_their_own_keep_them_but_for_the_steadiest_which_are_not_trusted_quite():
    pairs = [Contrast(0.1, error, 4.0, (3, 3)) for error in (1e-3, 1e-2, 1e-1, 1.0)]
    found = moderated(pairs)
    assert [pair.error for pair in found[2:]] == pytest.approx([1e-1, 1.0], rel=0.1)
    assert 1e-3 < found[0].error < 5e-3
    assert found[0].freedom == pytest.approx(4.5, abs=0.5)


def test_two_cells_lend_each_other_nothing():
    pairs = [contrast(RUNS, FAST), contrast(FAST, RUNS), contrast([[1.0]], FAST)]
    assert moderated(pairs) == pairs


def test_the_spread_that_cells_lend_is_smyths():
    """Against a prior fitted here by another way: Smyth's moments, the trigamma function inverted by bisection."""
    errors, freedom = np.array([0.01, 0.02, 0.05, 0.03, 0.08]), 4.0
    logs = np.log(errors**2 * 1.5) - special.digamma(freedom / 2) + np.log(freedom / 2)
    beyond = logs.var(ddof=1) - special.polygamma(1, freedom / 2)
    worth = 2 * optimize.brentq(lambda half: special.polygamma(1, half) - beyond, 1e-3, 1e3)
    typical = np.exp(logs.mean() + special.digamma(worth / 2) - np.log(worth / 2))
    expected = np.sqrt((worth * typical + freedom * errors**2 * 1.5) / (worth + freedom) / 1.5)
    found = moderated([Contrast(0.0, error, freedom, (3, 3)) for error in errors])
    assert [pair.error for pair in found] == pytest.approx(list(expected), rel=1e-6)
    assert found[0].freedom == pytest.approx(worth + freedom)


@pytest.mark.parametrize(("freedom", "threshold"), [(4.0, 0.0), (30.0, 0.0), (30.0, 0.3)])
def test_the_smallest_slowdown_is_found_8_times_in_10(freedom, threshold):
    """20,000 comparisons with that very slowdown: 80 % within 1.5 percent points."""
    error, confidence, random = 0.03, 0.99, np.random.default_rng(7)
    slowdown = smallest_slowdown(Contrast(0.0, error, freedom, (3, 3)), confidence, threshold)
    differences = random.normal(np.log1p(slowdown), error, 20_000)
    errors = error * np.sqrt(random.chisquare(freedom, 20_000) / freedom)
    shown = differences > stats.t.ppf((1 + confidence) / 2, freedom) * errors
    found = shown & (differences > np.log1p(threshold))
    assert found.mean() == pytest.approx(0.8, abs=0.015)
