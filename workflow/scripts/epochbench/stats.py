"""From samples to intervals and verdicts. A run is a list of epoch times in seconds; only runs are independent."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; `low` and `high` are None where there are too few runs to tell."""

    low: float | None
    estimate: float
    high: float | None


def typical_epoch(runs: list[list[float]], confidence: float = 0.95) -> Interval:
    """Return a cell's typical epoch time in seconds: the geometric mean of its runs' medians, with a t interval.

    Epochs of one process share its memory layout and its minute; between runs these vary. So each run counts once,
    and the interval is Student's, on the logarithms of the medians (one run has no interval).
    """
    logarithms = _log_medians(runs)
    return _interval(float(np.mean(logarithms)), _standard_error(logarithms), len(logarithms) - 1, confidence)


def speedup(baseline: list[list[float]], cell: list[list[float]], confidence: float = 0.95) -> Interval:
    """Return how many times shorter a cell's epochs are than the baseline's, with Welch's interval.

    Each argument is a list of runs, each run a list of epoch times in seconds. The logarithms of the runs' medians
    are compared by Welch's unequal-variance t (Welch 1947), degrees of freedom by Satterthwaite.
    """
    numerator, denominator = _log_medians(baseline), _log_medians(cell)
    difference = float(np.mean(numerator) - np.mean(denominator))
    errors = [_standard_error(numerator), _standard_error(denominator)]
    if None in errors:
        return Interval(None, math.exp(difference), None)
    squares = [error**2 for error in errors]
    total = sum(squares)
    weights = sum(square**2 / (len(runs) - 1) for square, runs in zip(squares, (numerator, denominator), strict=True))
    freedom = total**2 / weights if weights else math.inf
    return _interval(difference, math.sqrt(total), freedom, confidence)


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
    medians = [float(np.median(run)) for run in runs]
    return float(np.std(medians, ddof=1) / np.mean(medians)) if len(runs) > 1 else None


def verdict(ratio: Interval, threshold: float = 0.02) -> str:
    """Return FASTER, SLOWER, SAME or AMBIGUOUS for a speedup, given the relative change that counts as noise."""
    if ratio.low is None:
        return "AMBIGUOUS"
    if ratio.low > 1 and ratio.estimate > 1 + threshold:
        return "FASTER"
    if ratio.high < 1 and ratio.estimate < 1 / (1 + threshold):
        return "SLOWER"
    return "SAME" if ratio.low >= 1 / (1 + threshold) and ratio.high <= 1 + threshold else "AMBIGUOUS"


def less_time(ratio: float) -> float:
    """Return the share of time that a speedup saves: 99.5x is 0.98995 less time."""
    return 1 - 1 / ratio


def _log_medians(runs: list[list[float]]) -> np.ndarray:
    if not runs or not all(runs):
        raise ValueError("every cell needs at least one run, and every run at least one epoch")
    return np.log([np.median(run) for run in runs])


def _standard_error(values) -> float | None:
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else None


def _quantile(freedom: float, confidence: float) -> float:
    """Return Student's two-sided quantile; scipy.special has it without the second that scipy.stats takes to import."""
    return float(stdtrit(freedom, (1 + confidence) / 2))


def _interval(centre: float, error: float | None, freedom: float, confidence: float) -> Interval:
    if error is None:
        return Interval(None, math.exp(centre), None)
    half = error * _quantile(freedom, confidence) if error else 0.0
    return Interval(math.exp(centre - half), math.exp(centre), math.exp(centre + half))
