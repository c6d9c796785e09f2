"""From samples to intervals and verdicts. A run is a list of epoch times in seconds; only runs are independent."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

import numpy as np
from scipy.special import ndtr, stdtrit


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; `low` and `high` are None where there are too few runs to tell."""

    low: float | None
    estimate: float
    high: float | None


def typical_epoch(runs: list[list[float]], confidence: float = 0.95, first: int | None = None) -> Interval:
    """Return a cell's typical epoch time in seconds: the geometric mean of its runs' medians, with a t interval.

    Epochs of one process share its memory layout and its minute; between runs these vary. So each run counts once,
    and the interval is Student's, on the logarithms of the medians (one run has no interval).
    `first` is as in speedup().
    """
    centre, side = float(np.mean(_log_medians(runs))), spread_of(runs, first)
    return _interval(centre, half_width([side], confidence))


def speedup(
    baseline: list[list[float]],
    cell: list[list[float]],
    confidence: float = 0.95,
    first: tuple[int | None, int | None] = (None, None),
    close: tuple[int, int] = (1, 1),
) -> Interval:
    """Return how many times shorter a cell's epochs are than the baseline's, with Welch's interval.

    Each argument is a list of runs, each run a list of epoch times in seconds. The logarithms of the runs' medians
    are compared by Welch's unequal-variance t (Welch 1947), degrees of freedom by Satterthwaite. Where runs were added
    until the interval was narrow enough, `first` is how many each side had before: they alone tell the spread, and the
    interval holds whatever stopped the adding (Stein 1945). `close` is Spread's, for each side.
    """
    difference = float(np.mean(_log_medians(baseline)) - np.mean(_log_medians(cell)))
    sides = [
        replace(spread_of(runs, count), close=rivals)
        for runs, count, rivals in zip((baseline, cell), first, close, strict=True)
    ]
    return _interval(difference, half_width(sides, confidence))


@dataclass(frozen=True)
class Spread:
    """How the runs of one cell spread: the standard deviation of their logarithms, from `first` of `runs` runs.

    `close` is how many cells it was the fastest of by its first runs: itself, and those not surely slower.
    """

    deviation: float | None
    first: int
    runs: int
    close: int = 1

    @property
    def squared_error(self) -> float:
        """Return the expected square of the error of the runs' mean.

        The cell that its first runs made the fastest of several was lucky in them: of equal cells, their error is the
        largest of as many. In further runs it has no such luck.
        """
        luck = self.first / self.runs * (_square_of_the_largest(self.close) - 1)
        return (self.deviation / math.sqrt(self.runs)) ** 2 * (1 + luck)


def spread_of(runs: list[list[float]], first: int | None = None) -> Spread:
    """Return the spread of a cell's runs, estimated from its first ones; a single run has none."""
    logarithms = _log_medians(runs)
    used = logarithms[:first]
    return Spread(float(np.std(used, ddof=1)) if len(used) > 1 else None, len(used), len(logarithms))


def standard_error(sides: list[Spread]) -> tuple[float, float] | None:
    """Return the standard error of a sum of means of logarithms, and Satterthwaite's degrees of freedom.

    They are never more than those of the first runs alone: further runs go where the spread seems large, which makes
    the sides' errors look alike. None where a spread is not known.
    """
    if any(side.deviation is None for side in sides):
        return None
    errors, at_first = [side.squared_error for side in sides], [side.deviation**2 / side.first for side in sides]
    return math.sqrt(sum(errors)), min(_satterthwaite(each, sides) for each in (errors, at_first))


def _satterthwaite(errors: list[float], sides: list[Spread]) -> float:
    weights = sum(error**2 / (side.first - 1) for error, side in zip(errors, sides, strict=True))
    return sum(errors) ** 2 / weights if weights else math.inf


@cache
def _square_of_the_largest(count: int) -> float:
    """Return the expected square of the largest of that many standard normal numbers: 1 of one or two, then more.

    More than two count almost twice, which makes up for what three runs say of a spread (benchmarks/coverage.py).
    """
    if count <= 2:
        return 1.0
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    count = 2 * count - 2
    return float((weights * count * ndtr(nodes) ** (count - 1) * nodes**2).sum() / weights.sum())


def half_width(sides: list[Spread], confidence: float) -> float | None:
    """Return half the width of the interval of a sum of means of logarithms; None where a spread is not known."""
    error = standard_error(sides)
    if error is None:
        return None
    return error[0] * _quantile(error[1], confidence) if error[0] else 0.0


# How the same samples would have been scored by others; Julia's @btime prints the minimum.
ESTIMATORS = {
    "minimum, as @btime prints": np.min,
    "median": np.median,
    "mean": np.mean,
    "mean without the outer tenths": lambda samples: float(np.mean(_inner(samples))),
}
TUKEY_FENCE = 1.5


def replay(baseline: list[list[float]], cell: list[list[float]]) -> dict[str, float]:
    """Return the speedup by each estimator over all epochs, as if runs did not matter: how far the choice moves it."""
    slow, fast = np.concatenate(baseline), np.concatenate(cell)
    return {name: float(estimate(slow) / estimate(fast)) for name, estimate in ESTIMATORS.items()}


def _inner(samples):
    ordered = np.sort(samples)
    cut = len(ordered) // 10
    return ordered[cut : len(ordered) - cut]


def outliers(run: list[float]) -> int:
    """Count a run's epochs beyond Tukey's fences (1.5 interquartile ranges outside the quartiles); none is dropped."""
    low, high = np.percentile(run, [25, 75])
    reach = TUKEY_FENCE * (high - low)
    return sum(not low - reach <= epoch <= high + reach for epoch in run)


def relative_spread(runs: list[list[float]]) -> float | None:
    """Return the standard deviation of the runs' medians over their mean, or None for a single run."""
    medians = [float(median(run)) for run in runs]
    return float(np.std(medians, ddof=1) / np.mean(medians)) if len(runs) > 1 else None


def verdict(ratio: Interval, threshold: float = 0.02) -> str:
    """Return FASTER, SLOWER, SAME or AMBIGUOUS for one speedup, given the relative change that counts as noise."""
    if ratio.low is None:
        return "AMBIGUOUS"
    if ratio.low > 1 and ratio.estimate > 1 + threshold:
        return "FASTER"
    if ratio.high < 1 and ratio.estimate < 1 / (1 + threshold):
        return "SLOWER"
    return "SAME" if ratio.low >= 1 / (1 + threshold) and ratio.high <= 1 + threshold else "AMBIGUOUS"


def holm(p_values: Sequence[float], confidence: float = 0.95) -> list[float]:
    """Return the confidence that each of many comparisons must have, by Holm's step-down rule (Holm 1979).

    The smallest p-value is held against (1 - confidence) / m, the next against (1 - confidence) / (m - 1), and so on.
    Once one is not below its level, that level holds for it and for all the rest.
    """
    allowed, left, confidences = 1 - confidence, len(p_values), [confidence] * len(p_values)
    for place in np.argsort(p_values, kind="stable"):
        confidences[place] = 1 - allowed / left
        if p_values[place] < allowed / left:
            left -= 1
    return confidences


def simultaneous(confidence: float, comparisons: int) -> float:
    """Return the confidence that each of some comparisons must have for all to hold together (Bonferroni).

    They then hold for whichever of them is picked afterwards, such as the fastest of many cells.
    """
    return 1 - (1 - confidence) / max(1, comparisons)


def less_time(ratio: float) -> float:
    """Return the share of time that a speedup saves: 99.5x is 0.98995 less time."""
    return 1 - 1 / ratio


def _log_medians(runs: list[list[float]]) -> np.ndarray:
    if not runs or not all(runs):
        raise ValueError("every cell needs at least one run, and every run at least one epoch")
    # The value that numpy's has, in a tenth of the time for as few numbers as a run has.
    return np.log([median(run) for run in runs])


def _quantile(freedom: float, confidence: float) -> float:
    """Return Student's two-sided quantile; scipy.special has it without the second that scipy.stats takes to import."""
    return float(stdtrit(freedom, (1 + confidence) / 2))


def _interval(centre: float, half: float | None) -> Interval:
    if half is None:
        return Interval(None, math.exp(centre), None)
    return Interval(math.exp(centre - half), math.exp(centre), math.exp(centre + half))
