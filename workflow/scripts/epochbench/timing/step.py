"""One full training step, forward, backward and update, in the ways that a cell's `execution` names."""

import time

import torch
from torch import nn
from torch.nn import functional
from torch.optim.sgd import sgd

from epochbench.timing.device import Device, autocast
from epochbench.timing.network import trained
from epochbench.timing.task import Task


class Momentum:
    """Stochastic gradient descent with momentum, by torch's own functional update.
    torch.optim.SGD is the same behind a class whose making imports torch's compiler, two seconds a run. GradScaler
    sets the attributes `grad_scale` and `found_inf` before a step and deletes them after it.
    """

    _step_supports_amp_scaling = True

    def __init__(self, parameters: dict[str, nn.Parameter], rate: float, momentum: float, fused: bool):
        self.names, self.parameters = list(parameters), list(parameters.values())
        self.param_groups = [{"params": self.parameters}]
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.rate, self.momentum, self.fused = rate, momentum, fused
        self.first = True

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters: v = momentum v + gradient; weight -= rate v. Fused, that is one kernel for all."""
        gradients = [parameter.grad for parameter in self.parameters]
        if self.first:
            self._require(gradients)
        sgd(
            self.parameters,
            gradients,
            self.velocities,
            fused=self.fused or None,  # None: whichever torch takes by default
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
            weight_decay=0.0,
            momentum=self.momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )

    def _require(self, gradients: list) -> None:
        """Raise ValueError, at the first step, where no gradient reaches a parameter that is to be trained."""
        missed = [name for name, gradient in zip(self.names, gradients, strict=True) if gradient is None]
        if missed:
            raise ValueError(
                f"no gradient reaches {', '.join(missed)}: use it, leave it out, or freeze it by requires_grad_(False)"
            )
        self.first = False


class Step:
    """One full training step: forward, backward, update. Images and labels in, the batch's mean loss out."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        protocol, cell = task.protocol, task.cell
        self.network = network
        self.device = device
        self.precision = cell.precision
        self.micro_batch = cell.micro_batch
        # A graph holds one kernel rather than many, and only the fused update takes the scale that fp16 needs.
        fused = cell.captures_graph or cell.precision == "fp16"
        self.optimizer = Momentum(trained(network), protocol.learning_rate, protocol.momentum, fused)
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

    def loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy, softmax included."""
        with autocast(self.device, self.precision):
            return functional.cross_entropy(self.network(images), labels)

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


class CompiledStep(Step):
    """The same step with the forward pass, its loss and their gradients compiled by torch.compile."""

    def __init__(self, task: Task, network: nn.Module, device: Device):
        super().__init__(task, network, device)
        self.loss = torch.compile(self.loss, dynamic=False)


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
        before = self._state()
        one_step = super().__call__
        replay, loss = self.device.capture(lambda: one_step(static_images, static_labels))
        self._restore(before)
        return replay, static_images, static_labels, loss

    def _state(self) -> list:
        """Copy the weights, buffers and momenta."""
        return [tensor.clone() for tensor in self._tensors()]

    def _restore(self, state: list) -> None:
        """Put a state back in place."""
        with torch.no_grad():
            for tensor, earlier in zip(self._tensors(), state, strict=True):
                tensor.copy_(earlier)

    def _tensors(self) -> list:
        return [*self.network.state_dict().values(), *self.optimizer.velocities]


class CompiledGraphStep(GraphStep, CompiledStep):
    """The compiled step, captured and replayed as a graph."""


STEPS = {
    "eager": Step,
    "compile": CompiledStep,
    "cuda_graph": GraphStep,
    "compiled_graph": CompiledGraphStep,
}


def build_step(task: Task, network: nn.Module, device: Device) -> Step:
    """Return the training step that a cell's `execution` names."""
    network.train()
    return STEPS[task.cell.execution](task, network, device)
