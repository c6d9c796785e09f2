import numpy as np
import pytest
from scipy import stats

from epochbench.stats import Interval, less_time, outliers, relative_spread, replay, speedup, typical_epoch, verdict
from epochbench.timing.stopping import relative_half_width

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
