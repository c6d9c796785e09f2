"""What is inside the clock and what is not: the timed epochs, what is read around them, and when they are enough.

Every framework is timed by this, in its own interpreter: nothing here imports torch.
"""

import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TextIO

from tqdm import tqdm

from epochbench.timing.device import Device, Elapsed
from epochbench.timing.machine import energy, host
from epochbench.timing.machine.watch import states_together, together
from epochbench.timing.record import GpuState, GpuWatch
from epochbench.timing.stopping import enough
from epochbench.timing.task import Task
from epochbench.timing.team import Team


class Trains(Protocol):
    """What is timed: a training step of any framework, which counts the steps that it takes.

    `seconds` are those that the host spent in them.
    """

    steps_taken: int
    images_taken: int
    seconds: float

    def epoch(self, batches: Sequence) -> Any:
        """Take a step on every batch; float() reads the last one's loss, which may still be on its way."""

    def weights(self) -> Any:
        """Return a copy of what is trained."""

    def share_moved(self, before: Any) -> float:
        """Return the share of the trained parameter tensors that differ from such a copy."""


@dataclass(frozen=True)
class Timed:
    """The timed epochs: their times and last losses, and what was counted and read around them.

    `first_losses` are those of every step of the first one, of frameworks other than torch.
    """

    epochs: list[Elapsed]
    losses: list[float]
    outer_seconds: float
    between_seconds: float
    step_seconds: float
    steps: int
    images: int
    parameters_moved: float
    peak_memory_bytes: int
    activity: host.Activity
    gpu_before: GpuState | None
    gpu_after: GpuState | None
    gpu_energy_joules: float | None
    cpu_energy_joules: float | None
    gpu_watch: GpuWatch | None = None
    first_losses: list[float] = field(default_factory=list)

    @property
    def epoch_seconds(self) -> list[float]:
        """Return the wall time of each epoch."""
        return [elapsed.wall_seconds for elapsed in self.epochs]

    @property
    def late_seconds(self) -> float | None:
        """Return how late an epoch's results were, after its clock: in half of the epochs at most; None if unknown."""
        late = [elapsed.late_seconds for elapsed in self.epochs]
        return None if None in late else statistics.median_low(late)


def time_epochs(
    task: Task, team: Team, step: Trains, batches: Sequence, device: Device, console: TextIO | None
) -> Timed:
    """Time epochs until the protocol has enough, while other processes watch the team's accelerators."""
    with device.watched() as watching:
        timed = _time_epochs(task, team, step, batches, device, console)
    return replace(
        timed,
        gpu_watch=together(team.gather(watching.seen)),
        gpu_before=states_together(team.gather(timed.gpu_before)),
        gpu_after=states_together(team.gather(timed.gpu_after)),
    )


def _time_epochs(
    task: Task, team: Team, step: Trains, batches: Sequence, device: Device, console: TextIO | None
) -> Timed:
    """Time the epochs, with the counters and copies that the gates ask for around them."""
    weights = step.weights()
    counted = step.steps_taken, step.images_taken, step.seconds
    epochs, losses = [], []
    label = f"{task.cell.cell} run {task.run}"
    gpu_before, before = device.gpu_state(), host.activity()
    joules = device.energy_joules(), energy.cpu_microjoules()
    gc.collect()
    gc.disable()
    try:
        with tqdm(desc=label, unit="epoch", file=console, disable=console is None, mininterval=0.5) as bar:
            outer, between, left = time.monotonic(), 0.0, time.perf_counter()
            while team.decide(not enough(task.protocol, [epoch.wall_seconds for epoch in epochs], len(batches))):
                team.barrier()
                between += time.perf_counter() - left
                elapsed, loss = time_epoch(step, batches, device)
                left = time.perf_counter()
                between += elapsed.looking_seconds
                epochs.append(elapsed)
                losses.append(loss)
                bar.set_postfix_str(f"{elapsed.wall_seconds:.3g} s/epoch", refresh=False)
                bar.update()
            between += time.perf_counter() - left
            outer = time.monotonic() - outer
    finally:
        gc.enable()
    gpu_joules = device.energy_joules()
    return Timed(
        epochs=epochs,
        losses=losses,
        outer_seconds=outer,
        between_seconds=between,
        step_seconds=step.seconds - counted[2],
        steps=step.steps_taken - counted[0],
        images=step.images_taken - counted[1],
        parameters_moved=step.share_moved(weights),
        peak_memory_bytes=device.peak_memory_bytes(),
        activity=host.activity() - before,
        gpu_before=gpu_before,
        gpu_after=device.gpu_state(),
        gpu_energy_joules=energy.joules_between(joules[0], gpu_joules) or None,  # one that stands still is unknown
        cpu_energy_joules=energy.cpu_joules_between(joules[1], energy.cpu_microjoules()),
    )


def time_epoch(step: Trains, batches: Sequence, device: Device) -> tuple[Elapsed, float]:
    """Time one epoch, every batch once, from an empty queue to an empty queue; return it and its last loss."""
    device.start()
    loss = step.epoch(batches)
    # Gradients are averaged in every step, so the others of a team are at most the last update behind.
    elapsed = device.stop()
    return elapsed, float(loss)
