"""How a run is timed."""

from dataclasses import dataclass

# The published batch size and learning rate, which the linear scaling rule keeps.
PUBLISHED_BATCH, PUBLISHED_RATE = 1000, 0.01
# Where the images are when the clock starts: on the device, or in the host's memory.
DEVICE, HOST = "device", "host"


@dataclass(frozen=True)
class Protocol:
    """How a run is timed; the counts are of steps or epochs, `max_seconds` of the timed part alone.

    A try that was disturbed is repeated until there were `tries`; before each one the run waits for the machine to be
    quiet, `quiet_seconds` at most in all. `learning_rate` is that of a batch of 1000 images or more where
    `rate_scaling` is linear, else of any batch. `residency` says where the images are when the clock starts.
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
    rate_scaling: str = "none"
    residency: str = DEVICE

    def rate(self, batch_size: int) -> float:
        """Return the learning rate of a batch size, by which as many images move the weights as far.

        That is the linear scaling rule (Goyal et al. 2017). It is not followed above the published batch size: there it
        needs that paper's gradual warm-up. Without, the published network diverged at batch 10,000 and rate 0.1.
        """
        scale = min(1.0, batch_size / PUBLISHED_BATCH) if self.rate_scaling == "linear" else 1.0
        return self.learning_rate * scale
