import pytest

from epochbench import wording
from epochbench.progress import duration
from epochbench.stats import Interval


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(3.41, 3.49, 3.57), "3.49x (3.41–3.57)"),
        (Interval(98.0, 99.5, 101.0), "99.5x (98.0–101)"),
        (Interval(2.3, 3.1, 4.0), "3.1x (2.3–4.0)"),
        (Interval(None, 44.6, None), "44.6x (one run, no interval)"),
        (Interval(None, 99.99, None), "100x (one run, no interval)"),
        (Interval(1998.0, 2000.0, 2002.0), "2,000x (1,998–2,002)"),
    ],
)
def test_ratios_have_the_digits_their_interval_supports(interval, text):
    assert wording.ratio_with_interval(interval) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (Interval(1.17, 4.0, 13.0), "4x (1.2–13)"),
        (Interval(1.0004, 1.02, 1.04), "1.02x (1.0004–1.0400)"),
        (Interval(0.9996, 1.02, 1.04), "1.02x (1.00–1.04)"),
        (Interval(1998.0, 2000.0, 2002.0), "2,000x (1,998–2,002)"),
        (Interval(None, 44.6, None), "44.6x (one run, no interval)"),
    ],
)
def test_an_end_that_is_called_certainly_above_one_shows_it(interval, text):
    assert wording.ratio_with_interval(interval, beyond_one=True) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(82.47, "82.5 s"), (0.828756, "829 ms"), (0.0000951, "95.1 µs"), (1234.0, "1,230 s")],
)
def test_times_have_the_unit_that_suits_them(value, text):
    assert wording.seconds(value) == text


def test_a_percentage_is_of_time_and_never_of_speedup():
    assert wording.less_time_percent(Interval(99, 99.51, 100)) == "98.995 % less time"
    assert wording.less_time_percent(Interval(1.9, 2.0, 2.1)) == "50.0 % less time"
    assert wording.less_time_percent(Interval(0.4, 0.5, 0.6)) == "100 % more time"


@pytest.mark.parametrize(("value", "text"), [(40.2, "40 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_waiting_times(value, text):
    assert duration(value) == text
