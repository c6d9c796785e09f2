"""When the timed epochs of a run are enough. It needs no scipy, which not every framework brings."""

import math
from functools import cache

import numpy as np

from epochbench.timing.protocol import Protocol

CONFIDENCE = 0.95
# Newton's steps from the normal distribution's quantile to Student's; fewer than ten are taken.
MOST_STEPS = 50
NORMAL_QUANTILE = 1.959964


def enough(protocol: Protocol, epoch_seconds: list[float], steps_per_epoch: int) -> bool:
    """Tell whether enough epochs were timed: the minimum, and then the precision aimed at or the time allowed."""
    epochs, total = len(epoch_seconds), sum(epoch_seconds)
    steps = protocol.warmup_steps + epochs * steps_per_epoch
    if epochs < protocol.min_epochs or steps < protocol.min_steps or total < protocol.min_seconds:
        return epochs >= protocol.max_epochs
    if total >= protocol.max_seconds or epochs >= protocol.max_epochs:
        return True
    return relative_half_width(epoch_seconds) <= protocol.precision


def relative_half_width(samples: list[float]) -> float:
    """Return half the width of the mean's 95 % t interval over the mean; infinite for fewer than three samples."""
    if len(samples) < 3:
        return math.inf
    error = float(np.std(samples, ddof=1)) / math.sqrt(len(samples))
    return error * t_quantile(len(samples) - 1) / float(np.mean(samples))


@cache
def t_quantile(freedom: int) -> float:
    """Return the number within which Student's t lies with probability 0.95, for so many degrees of freedom."""
    quantile = NORMAL_QUANTILE
    for _ in range(MOST_STEPS):
        step = (_within(quantile, freedom) - CONFIDENCE) / (2 * _density(quantile, freedom))
        # The probability is concave there, so that a step from below never leads too far.
        quantile -= step
        if abs(step) < 1e-13 * quantile:
            break
    return quantile


def _within(t: float, freedom: int) -> float:
    """Return the probability that Student's t lies between -t and t (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine, odd = math.sin(angle), math.cos(angle), freedom % 2
    term, total = cosine if odd else 1.0, 0.0
    for number in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine**2 * (number - 1) / number
    return 2 / math.pi * (angle + sine * total) if odd else sine * total


def _density(t: float, freedom: int) -> float:
    """Return the density of Student's t."""
    scale = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2) - math.log(freedom * math.pi) / 2
    return math.exp(scale - (freedom + 1) / 2 * math.log1p(t * t / freedom))
