"""What a framework provides to be timed, and the step and the device by which our stopwatch times it.

Nothing here imports torch or a framework; numbers pass as NumPy arrays.
"""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from epochbench.timing import devices
from epochbench.timing.device import Device, Elapsed
from epochbench.timing.machine import host
from epochbench.timing.machine.watch import Watching
from epochbench.timing.record import Gpu, GpuState

# How often a settled device is asked for its results, to know how long that takes, and after which pause: a host that
# has just waited, as at the end of an epoch, takes longer.
LOOKS, PAUSE_SECONDS = 9, 0.02


class Trainer:
    """What a framework does for one cell. Weights go by torch's names and in its layouts: [out, in, height, width].

    What a step or an epoch returns may still be on its way; `synchronize` waits for all of it, and nothing else does.
    """

    # Of the device that it trains on, where TF32 can be on: whether it is, as the framework has it set.
    tf32: bool | None = None

    def load(self, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put the batches on the device, as they are trained on: float32 in [0, 1], in the layout of the cell.

        A batch is images, uint8 [n, channels, height, width], and labels, int64 [n].
        """
        raise NotImplementedError

    def begin(self, weights: dict[str, np.ndarray]) -> None:
        """Begin a training from these weights, float32, with no momentum."""
        raise NotImplementedError

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights as they are now, under the names and in the layouts in which they came."""
        raise NotImplementedError

    def step(self, number: int) -> object:
        """Take a training step on a batch by its number; return its mean loss."""
        raise NotImplementedError

    def synchronize(self) -> None:
        """Return once the device has done all that it was given."""
        raise NotImplementedError

    def peek(self) -> object:
        """Return one number of every parameter as an array on the host, which waits for them."""
        raise NotImplementedError

    def epoch(self) -> object | None:
        """Take a step on every batch at once; return all mean losses, or None where steps are taken one by one."""
        return None

    def read(self, losses: object) -> np.ndarray:
        """Return losses, of a step or of an epoch, on the host."""
        return np.asarray(losses, dtype=np.float64)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far: by default what this process had resident."""
        return host.peak_resident_bytes()

    def threads(self) -> int:
        """Return how many threads compute on the host: by default one for each core that this process may use."""
        return host.affinity()

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from the framework."""
        return {}


class Losses:
    """The losses of an epoch, which may still be on their way; float() reads the last one."""

    def __init__(self, trainer: Trainer, parts: list):
        self.trainer, self.parts = trainer, parts

    def __float__(self) -> float:
        return float(np.ravel(self.trainer.read(self.parts[-1]))[-1])

    def every(self) -> list[float]:
        """Return all of them."""
        return [float(loss) for part in self.parts for loss in np.ravel(self.trainer.read(part))]


class TrainerStep:
    """A framework's training as our stopwatch takes it: it counts steps, images, and the host's seconds in them.

    `first` are the losses of the first epoch since it was None.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer
        self.steps_taken = self.images_taken = 0
        self.seconds = 0.0
        self.first: Losses | None = None

    def take(self, number: int, images: int) -> object:
        """Take one step on a batch of so many images; return its loss."""
        started = time.perf_counter()
        loss = self.trainer.step(number)
        self.seconds += time.perf_counter() - started
        self.steps_taken += 1
        self.images_taken += images
        return loss

    def epoch(self, batches: Sequence[int]) -> Losses:
        """Take a step on every batch, given by how many images each has."""
        losses = self._epoch(batches)
        self.first = self.first or losses
        return losses

    def _epoch(self, batches: Sequence[int]) -> Losses:
        started = time.perf_counter()
        losses = self.trainer.epoch()
        if losses is None:
            return Losses(self.trainer, [self.take(number, images) for number, images in enumerate(batches)])
        self.seconds += time.perf_counter() - started
        self.steps_taken += len(losses)
        self.images_taken += sum(batches[: len(losses)])
        return Losses(self.trainer, [losses])

    def weights(self) -> dict[str, np.ndarray]:
        """Return a copy of the weights."""
        return {name: np.array(values) for name, values in self.trainer.weights().items()}

    def share_moved(self, before: dict[str, np.ndarray]) -> float:
        """Return the share of the parameters that differ from such a copy."""
        now = self.trainer.weights()
        return sum(not np.array_equal(now[name], old) for name, old in before.items()) / len(before)


class TrainerDevice(Device):
    """The device that a framework trains on: there are no events, so results are asked for once its clock has stopped.

    They must be there then. `owners` are the processes on the card that are ours.
    """

    def __init__(self, trainer: Trainer, on_card: bool):
        self.trainer = trainer
        self.owners = {os.getpid()}
        self.card = devices.card() if on_card else None
        self.usual_seconds = 0.0

    def settle(self) -> None:
        """Note how long it takes to ask for results that are there already."""
        self.trainer.synchronize()
        self.usual_seconds = statistics.median(self._look_after_a_pause() for _ in range(LOOKS))

    def _look_after_a_pause(self) -> float:
        time.sleep(PAUSE_SECONDS)
        return _seconds(self.trainer.peek)

    def start(self) -> None:
        """Start the stopwatch once the device has nothing left to do."""
        self.trainer.synchronize()
        self._started = time.perf_counter()

    def stop(self) -> Elapsed:
        """Stop the stopwatch once the device has nothing left to do, and look whether that was so."""
        queued = time.perf_counter()
        self.trainer.synchronize()
        done = time.perf_counter()
        looking = _seconds(self.trainer.peek)
        late = max(0.0, looking - self.usual_seconds)
        return Elapsed(done - self._started, None, done - queued, late, looking)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far, as the framework tells it."""
        return self.trainer.peak_memory_bytes()

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels."""
        return self.trainer.flags()

    def stack(self) -> dict[str, str]:
        """Return the driver's version and the card's power limit."""
        return self.card.stack() if self.card else {}

    def gpu(self) -> Gpu | None:
        """Return the card's facts, None for a processor."""
        return self.card.gpu if self.card else None

    def gpu_state(self) -> GpuState | None:
        """Return the card's clocks, limits and processes that are not ours."""
        return self.card.state(self.owners) if self.card else None

    def energy_joules(self) -> float | None:
        """Return the card's energy counter in joules, None where it has none."""
        return self.card.energy_joules() if self.card else None

    def watched(self) -> AbstractContextManager[Watching]:
        """Watch the card from another process."""
        return self.card.watched(self.owners) if self.card else super().watched()

    def tf32_allowed(self) -> bool | None:
        """Tell whether TF32 is on, None where there is no such thing."""
        return self.trainer.tf32 if self.card else None


def _seconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
