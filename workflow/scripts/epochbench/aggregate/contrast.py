"""Two cells held against each other, and many such pairs at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from scipy.special import nctdtrinc, ndtri, stdtr, stdtrit

from epochbench.aggregate.baseline import epoch_times, first_of
from epochbench.stats import Interval, holm, speedup, spread_of, standard_error, verdict
from epochbench.timing.record import Record

# How often the smallest slowdown that is told of would be found.
POWER = 0.8


@dataclass(frozen=True)
class Contrast:
    """A cell against a baseline, on the logarithms of their runs' medians."""

    difference: float  # the baseline's mean minus the cell's: above 0 the cell is faster
    error: float | None  # standard error of the difference; None where one side has a single run
    freedom: float | None  # degrees of freedom of the error; None likewise
    runs: tuple[int, int]  # number of runs of each side
    fewest: int | None = None  # the fewest runs that told a side's spread, where not all of them did

    @property
    def per_run(self) -> float:
        """Return the error's square over the variance of a single run."""
        return sum(1 / count for count in self.runs)


def contrast(
    baseline: list[list[float]], cell: list[list[float]], first: tuple[int | None, int | None] = (None, None)
) -> Contrast:
    """Hold the runs of a cell against those of a baseline; the arguments are those of stats.speedup."""
    sides = [spread_of(runs, count) for runs, count in zip((baseline, cell), first, strict=True)]
    difference, counts = math.log(speedup(baseline, cell).estimate), (sides[0].runs, sides[1].runs)
    error, freedom = standard_error(sides) or (None, None)
    few = min(side.first for side in sides)
    return Contrast(difference, error, float(few - 1) if freedom == math.inf else freedom, counts, few)


def contrast_of(baseline: list[Record], cell: list[Record]) -> Contrast:
    """Return the contrast of two cells' records; runs that were added later do not tell the spread."""
    return contrast(epoch_times(baseline), epoch_times(cell), (first_of(baseline), first_of(cell)))


def cautious(pair: Contrast) -> Contrast:
    """Return the contrast with the degrees of freedom of the side with fewer runs, the fewest that Welch's can have.

    In the far tails, where one of many comparisons is judged, Satterthwaite's are too many: of sheets of equal cells
    11 % had a false verdict once the baseline alone had ten runs. These are never too many (Mickey and Brown 1966).
    """
    return pair if pair.error is None else replace(pair, freedom=float((pair.fewest or min(pair.runs)) - 1))


def ratio_of(pair: Contrast, confidence: float = 0.95) -> Interval:
    """Return how many times faster the cell is than the baseline, with its interval."""
    if pair.error is None:
        return Interval(None, math.exp(pair.difference), None)
    half = pair.error * _quantile(pair, confidence)
    return Interval(*(math.exp(pair.difference + shift) for shift in (-half, 0.0, half)))


def p_value(pair: Contrast) -> float:
    """Return how often equal cells would differ as much, in either direction; 1 where there is no error to judge by."""
    if not pair.error:
        return float(pair.error is None or pair.difference == 0)
    return float(2 * stdtr(pair.freedom, -abs(pair.difference) / pair.error))


def verdicts(pairs: Sequence[Contrast], confidence: float, threshold: float) -> list[str]:
    """Return FASTER, SLOWER, SAME or AMBIGUOUS for each of many contrasts.

    Each verdict is that of an interval with Holm's confidence. So at most 1 - confidence of the sheets whose cells are
    all equal have a FASTER or SLOWER anywhere. A contrast without an error is AMBIGUOUS, and costs the others nothing.
    """
    known = [pair for pair in pairs if pair.error is not None]
    confidences = iter(holm([p_value(pair) for pair in known], confidence))
    return [
        verdict(ratio_of(pair, confidence if pair.error is None else next(confidences)), threshold) for pair in pairs
    ]


def count_close(fastest: list[list[float]], rivals: Sequence[list[list[float]]], confidence: float) -> int:
    """Return how many cells the fastest was picked from, itself included: all that are not surely slower."""
    pairs = [cautious(contrast(runs, fastest)) for runs in rivals]
    return 1 + sum(pair.error is None or ratio_of(pair, confidence).low <= 1 for pair in pairs)


def smallest_slowdown(pair: Contrast, confidence: float, threshold: float) -> float | None:
    """Return the smallest slowdown that a comparison like this one finds 8 times in 10; 0.1 is 10 % more time.

    To be found, its interval must exclude 1, which the noncentral t distribution tells of, and its estimate must lie
    beyond the threshold, which the normal distribution tells of. None where no error is known.
    """
    if pair.error is None:
        return None
    beyond = math.log1p(threshold) + float(ndtri(POWER)) * pair.error
    excluded = float(nctdtrinc(pair.freedom, 1 - POWER, _quantile(pair, confidence))) * pair.error
    return math.expm1(max(beyond, excluded))


def _quantile(pair: Contrast, confidence: float) -> float:
    return float(stdtrit(pair.freedom, (1 + confidence) / 2))
