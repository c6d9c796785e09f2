"""When the timed epochs of a run are enough."""

import math

import numpy as np
from scipy.special import stdtrit

from epochbench.timing.protocol import Protocol

CONFIDENCE = 0.95


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
    return error * float(stdtrit(len(samples) - 1, (1 + CONFIDENCE) / 2)) / float(np.mean(samples))
