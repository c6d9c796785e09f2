"""Contrasts that lend each other their spread.

Three runs say little about a cell's spread, so that Welch's test of one cell finds little. A sheet has many cells, and
together they say much. The moderated t of Smyth (2004) takes from each cell's variance what it is worth beside the
sheet's typical one: much where the cells spread alike, nothing where each has a spread of its own.

Smyth, G. K. (2004). Linear models and empirical Bayes methods for assessing differential expression in microarray
experiments. Statistical Applications in Genetics and Molecular Biology 3(1), article 3.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import digamma, polygamma

from epochbench.aggregate.contrast import Contrast

# With fewer cells, how unlike their spreads are cannot be told.
MIN_CELLS = 3
# Of the median variance: a cell that by chance hardly spreads would otherwise decide the typical one, as a logarithm.
LEAST_VARIANCE = 1e-5


def moderated(pairs: Sequence[Contrast]) -> list[Contrast]:
    """Return the contrasts with errors that lean on the spread of all; differences stay as they are.

    A contrast without an error stays without one, and fewer than three with one are left alone.
    """
    known = [pair for pair in pairs if pair.error]
    if len(known) < MIN_CELLS:
        return list(pairs)
    variances = np.array([pair.error**2 / pair.per_run for pair in known])
    freedoms = np.array([pair.freedom for pair in known])
    typical, worth = _typical_variance(variances, freedoms)
    return [_moderated(pair, typical, worth, float(freedoms.sum())) for pair in pairs]


def _moderated(pair: Contrast, typical: float, worth: float, at_most: float) -> Contrast:
    if not pair.error:
        return pair
    if math.isinf(worth):
        return replace(pair, error=math.sqrt(typical * pair.per_run), freedom=at_most)
    own = pair.error**2 / pair.per_run
    variance = (worth * typical + pair.freedom * own) / (worth + pair.freedom)
    return replace(pair, error=math.sqrt(variance * pair.per_run), freedom=min(worth + pair.freedom, at_most))


def _typical_variance(variances: np.ndarray, freedoms: np.ndarray) -> tuple[float, float]:
    """Return the variance of a run that is typical of the sheet, and how many degrees of freedom it is worth.

    Smyth's section 6.2: the logarithms' mean and variance, less what chance alone would bring about.
    """
    bounded = np.maximum(variances, LEAST_VARIANCE * np.median(variances))
    logarithms = np.log(bounded) - digamma(freedoms / 2) + np.log(freedoms / 2)
    centre = float(logarithms.mean())
    beyond_chance = float(logarithms.var(ddof=1) - polygamma(1, freedoms / 2).mean())
    if beyond_chance <= 0:
        return math.exp(centre), math.inf
    worth = 2 * _inverse_trigamma(beyond_chance)
    return math.exp(centre + float(digamma(worth / 2)) - math.log(worth / 2)), worth


def _inverse_trigamma(value: float) -> float:
    """Solve trigamma(x) = value by Newton's method as in Smyth's appendix, which converges from below for any value."""
    root = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(polygamma(1, root))
        step = trigamma * (1 - trigamma / value) / float(polygamma(2, root))
        root += step
        if -step / root < 1e-8:
            break
    return root
