"""How a run is timed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Protocol:
    """How a run is timed; the counts are of steps or epochs, `max_seconds` of the timed part alone.

    A try that was disturbed is repeated until there were `tries`; before each one the run waits for the machine to be
    quiet, `quiet_seconds` at most in all.
    """

    warmup_steps: int = 10
    min_epochs: int = 2
    max_epochs: int = 1000
    min_steps: int = 100
    min_seconds: float = 2.0
    max_seconds: float = 8.0
    precision: float = 0.01
    seed: int = 2021
    learning_rate: float = 0.01
    momentum: float = 0.9
    tries: int = 1
    quiet_seconds: float = 0.0
