"""How a run is timed."""

import dataclasses
import math
from dataclasses import dataclass

# The published batch size and learning rate, which the linear scaling rule keeps.
PUBLISHED_BATCH, PUBLISHED_RATE = 1000, 0.01
# torch's own; the first beta is the momentum.
ADAM_SECOND_BETA, ADAM_EPSILON = 0.999, 1e-8
PLAIN_SGD = "sgd without weight decay"
# Fields that came with version 5 of the records; their defaults are what was done before.
LATER = ("optimizer", "weight_decay", "fused", "until_accuracy", "until_epochs", "residency")
# Where the images are when the clock starts: on the device, or in the host's memory.
DEVICE, HOST = "device", "host"


@dataclass(frozen=True)
class Protocol:
    """How a run is timed; the counts are of steps or epochs, `max_seconds` of the timed part alone.

    A try that was disturbed is repeated until there were `tries`; before each one the run waits for the machine to be
    quiet, `quiet_seconds` at most in all. `learning_rate` is that of a batch of 1000 images or more where
    `rate_scaling` is not none, else of any batch. `fused` is "always" for an update in one kernel on every cell, "auto"
    where steps are captured or in fp16. After the timed epochs a run trains anew until the test accuracy is
    `until_accuracy`, `until_epochs` at most; 0 asks for none. `residency` says where the images are when the clock
    starts.
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
    optimizer: str = "sgd"
    weight_decay: float = 0.0
    fused: str = "auto"
    until_accuracy: float = 0.0
    until_epochs: int = 100
    residency: str = DEVICE

    def rate(self, batch_size: int) -> float:
        """Return the learning rate of a batch size, by which as many images move the weights as far.

        For SGD that is the linear scaling rule (Goyal et al. 2017), for Adam the square root (Malladi et al. 2022).
        Neither is followed above the published batch size: there the linear one needs that paper's gradual warm-up.
        Without, the published network diverged at batch 10,000 and rate 0.1.
        """
        share = min(1.0, batch_size / PUBLISHED_BATCH)
        return self.learning_rate * {"linear": share, "square_root": math.sqrt(share), "none": 1.0}[self.rate_scaling]

    def warmup_batches(self, batches: int, uneven: bool) -> list[int]:
        """Return the numbers of the batches that the first steps are taken on; `uneven` tells of a smaller last one.

        Every batch shape is seen, so that nothing is compiled later.
        """
        chosen = [step % batches for step in range(max(1, self.warmup_steps))]
        return [*chosen, batches - 1] if uneven else chosen

    @property
    def is_plain_sgd(self) -> bool:
        """Tell whether the weights are updated as published but for the rates, which is all that kernels by hand do."""
        return (self.optimizer, self.weight_decay) == ("sgd", 0)

    def digested(self) -> dict[str, object]:
        """Return the fields by which protocols are told apart: a later one counts only where it asks for something.

        So a protocol of before has the digest that it had.
        """
        fields = dataclasses.asdict(self)
        return {key: value for key, value in fields.items() if key not in LATER or value != getattr(Protocol, key)}
