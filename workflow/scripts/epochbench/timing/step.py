"""One full training step, forward, backward and update, in the ways that a cell's `execution` names."""

import time

import torch
from torch import nn

from epochbench import networks
from epochbench.errors import BenchmarkError
from epochbench.timing.device import Device, autocast
from epochbench.timing.load import Batches
from epochbench.timing.network import loss_of, mean_loss, trained
from epochbench.timing.optimizer import build_optimizer
from epochbench.timing.protocol import PLAIN_SGD
from epochbench.timing.task import Task


class Step:
    """One full training step: forward, backward, update. Images and labels in, the batch's mean loss out."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        protocol, cell = task.protocol, task.cell
        self.network = network
        self.own_loss = loss_of(network, device.torch_device)
        self.device = device
        self.precision = cell.precision
        self.micro_batch = cell.micro_batch
        # A graph holds one kernel rather than many, and only the fused update takes the scale that fp16 needs.
        fused = cell.captures_graph or cell.precision == "fp16"
        self.optimizer = build_optimizer(trained(network), protocol, protocol.rate(cell.batch_size), fused)
        self.steps_taken = self.images_taken = 0
        self.seconds = 0.0
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=cell.precision == "fp16")

    def take(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take one step of the training; count it, and the seconds that the host spent in it."""
        started = time.perf_counter()
        loss = self(images, labels)
        self.seconds += time.perf_counter() - started
        self.steps_taken += 1
        self.images_taken += len(labels)
        return loss

    def ready(self, batches: Batches) -> float:
        """Do what an epoch of these batches needs before the clock.

        Return how far such an epoch's change of the weights is from that of the steps one by one, relatively.
        """
        return 0.0

    def epoch(self, batches: Batches) -> torch.Tensor:
        """Take a step on every batch, and return the last one's loss."""
        for images, labels in batches:
            loss = self.take(images, labels)
        return loss

    def start_over(self) -> None:
        """Begin anew, from the weights that the network has been given since."""
        self.optimizer.start_over()

    def weights(self) -> list[torch.Tensor]:
        """Return a copy of the parameters that are trained."""
        return [parameter.detach().clone() for parameter in trained(self.network).values()]

    def share_moved(self, before: list[torch.Tensor]) -> float:
        """Return the share of the trained parameter tensors that differ from their earlier copies."""
        moved = [not torch.equal(old, new) for old, new in zip(before, trained(self.network).values(), strict=True)]
        return sum(moved) / len(moved)

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, softmax included, or the mean of the network's own loss."""
        with autocast(self.device, self.precision):
            return mean_loss(self.network, self.own_loss, images, labels)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take the step; the loss stays on the device, so that nothing waits for it."""
        self.optimizer.zero_grad()
        loss = self._accumulate(images, labels) if self.micro_batch else self._whole(images, labels)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss

    def _whole(self, images, labels):
        loss = self.loss(images, labels)
        self.scaler.scale(loss).backward()
        return loss.detach()

    def _accumulate(self, images, labels):
        """Add up the gradients of micro-batches, each weighted by its share, which is the whole batch's gradient."""
        total = torch.zeros((), device=images.device)
        for part, truth in zip(images.split(self.micro_batch), labels.split(self.micro_batch), strict=True):
            loss = self.loss(part, truth) * (len(truth) / len(labels))
            self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def state(self) -> list:
        """Copy what a step leaves for the next."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, state: list) -> None:
        """Put a state back in place."""
        with torch.no_grad():
            for tensor, earlier in zip(self._tensors(), state, strict=True):
                tensor.copy_(earlier)

    def _tensors(self) -> list:
        return [*self._values(), *self.optimizer.counters]

    def _values(self) -> list:
        """Return what a step changes: weights, whatever else the network keeps, and what the optimiser does."""
        return [*self.network.state_dict().values(), *self.optimizer.moments]


class CompiledStep(Step):
    """The same step with the forward pass, its loss and their gradients compiled by torch.compile."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        super().__init__(task, network, device)
        self.loss = torch.compile(self.loss, dynamic=False)


class FusedStep(Step):
    """The same step as the network's own file has it, written by hand, on images in that step's own layout."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        super().__init__(task, network, device)
        cell, protocol = task.cell, task.protocol
        if not device.computes_bf16():
            raise BenchmarkError(f"cell '{cell.cell}': layers fused compute in bf16, which this device does not")
        if not protocol.is_plain_sgd:
            raise BenchmarkError(f"cell '{cell.cell}': layers fused know {PLAIN_SGD} alone; choose other layers")
        step_of = networks.load(cell.model).fused_step
        self.by_hand = step_of(network, self.optimizer.rate, protocol.momentum, cell.batch_size)

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take the step; it neither makes gradients of its own nor asks autograd for them."""
        return self.by_hand.step(images, labels)

    def start_over(self) -> None:
        """Begin anew; the kernels have momenta of their own, and the weights in another layout too."""
        self.by_hand.start_over()

    def _values(self) -> list:
        return self.by_hand.tensors()


class GraphStep(Step):
    """The same step captured once for each batch shape as a graph, and replayed from static inputs."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        super().__init__(task, network, device)
        self.graphs = {}

    def __call__(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Replay the step on these images; the first of each batch shape captures it."""
        if len(labels) not in self.graphs:
            self.graphs[len(labels)] = self._capture(images, labels)
        replay, static_images, static_labels, loss = self.graphs[len(labels)]
        static_images.copy_(images)
        static_labels.copy_(labels)
        replay()
        return loss

    def _capture(self, images: torch.Tensor, labels: torch.Tensor):
        """Capture one step; what the device runs before a capture leaves no trace in the weights."""
        static_images, static_labels = images.clone(), labels.clone()
        before = self.state()
        one_step = super().__call__
        replay, loss = self.device.capture(lambda: one_step(static_images, static_labels))
        self.restore(before)
        return replay, static_images, static_labels, loss


class EpochGraphStep(Step):
    """The steps of a whole epoch captured as one graph, and replayed on the very batches that it was captured with."""

    def ready(self, batches: Batches) -> float:
        """Capture the epoch, and compare its replay with the same steps one by one; both leave no trace.

        The first steps, taken one by one, are what is compared with float64; so this tells that what the clock times
        is the same.
        """
        before = self.state()
        for images, labels in batches:
            self(images, labels)
        stepped = [tensor.clone() for tensor in self._values()]
        self.restore(before)
        self.replay, self.held = self.device.capture(
            lambda: [(self(images, labels), len(labels)) for images, labels in batches]
        )
        self.restore(before)
        self.replay()
        # Without the optimiser's counters, whose steps would outweigh those of all weights.
        deviation = _relative_difference(self._values(), stepped, before[: len(stepped)])
        self.restore(before)
        return deviation

    def epoch(self, batches: Batches) -> torch.Tensor:
        """Replay the epoch; count the steps and images that its graph holds, and return its last loss."""
        started = time.perf_counter()
        self.replay()
        self.seconds += time.perf_counter() - started
        self.steps_taken += len(self.held)
        self.images_taken += sum(images for _, images in self.held)
        return self.held[-1][0]


def _relative_difference(found: list, expected: list, before: list) -> float:
    """Return how far one state is from another, relatively to the way there; integers, such as counters, are left."""
    pairs = [
        ((one - other).norm().cpu().double(), (other - start).norm().cpu().double())  # not every device has float64
        for one, other, start in zip(found, expected, before, strict=True)
        if other.is_floating_point()
    ]
    return float(torch.stack([off for off, _ in pairs]).norm() / torch.stack([way for _, way in pairs]).norm())


class CompiledGraphStep(GraphStep, CompiledStep):
    """The compiled step, captured and replayed as a graph."""


class FusedGraphStep(GraphStep, FusedStep):
    """The step written by hand, captured and replayed as a graph."""


class FusedEpochGraphStep(EpochGraphStep, FusedStep):
    """An epoch of steps written by hand, captured and replayed as one graph."""


STEPS = {
    "eager": Step,
    "compile": CompiledStep,
    "cuda_graph": GraphStep,
    "compiled_graph": CompiledGraphStep,
    "epoch_graph": EpochGraphStep,
}
FUSED_STEPS = {"eager": FusedStep, "cuda_graph": FusedGraphStep, "epoch_graph": FusedEpochGraphStep}


def build_step(task: Task, network: nn.Module, device: Device) -> Step:
    """Return the training step that a cell's `execution` and `layers` name."""
    network.train()
    kinds = FUSED_STEPS if task.cell.layers == "fused" else STEPS
    return kinds[task.cell.execution](task, network, device)
