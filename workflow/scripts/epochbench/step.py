"""One full training step, forward, backward and update, in the ways that a cell's `execution` names."""

import time

import torch
from torch.nn import functional
from torch.optim.sgd import sgd

from epochbench.device import autocast

# PyTorch's own advice before a capture: a few steps on a side stream.
GRAPH_WARMUP_STEPS = 3


class Momentum:
    """Stochastic gradient descent with momentum, by torch's own functional update.

    torch.optim.SGD is the same behind a class whose making imports torch's compiler, two seconds a run. The attributes
    are those by which GradScaler finds its way.
    """

    _step_supports_amp_scaling = True
    grad_scale = found_inf = None

    def __init__(self, parameters, rate: float, momentum: float, fused: bool):
        self.parameters = list(parameters)
        self.param_groups = [{"params": self.parameters}]
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.rate, self.momentum, self.fused = rate, momentum, fused

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Update all parameters: v = momentum v + gradient; weight -= rate v. Fused, that is one kernel for all."""
        sgd(
            self.parameters,
            [parameter.grad for parameter in self.parameters],
            self.velocities,
            fused=self.fused or None,  # None: whichever torch takes by default
            grad_scale=self.grad_scale,
            found_inf=self.found_inf,
            weight_decay=0.0,
            momentum=self.momentum,
            lr=self.rate,
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )


class Step:
    """One full training step: forward, backward, update. Images and labels in, the batch's mean loss out."""

    def __init__(self, task, network, device):
        protocol, cell = task.protocol, task.cell
        self.network = network
        self.device = device
        self.precision = cell.precision
        self.micro_batch = cell.micro_batch
        # A graph holds one kernel rather than many, and only the fused update takes the scale that fp16 needs.
        fused = cell.captures_graph or cell.precision == "fp16"
        self.optimizer = Momentum(network.parameters(), protocol.learning_rate, protocol.momentum, fused)
        self.steps_taken = self.images_taken = 0
        self.seconds = 0.0
        self.scaler = torch.amp.GradScaler(device.torch_device.type, enabled=cell.precision == "fp16")

    def take(self, images, labels):
        """Take one step of the training; count it, and the seconds that the host spent in it."""
        started = time.perf_counter()
        loss = self(images, labels)
        self.seconds += time.perf_counter() - started
        self.steps_taken += 1
        self.images_taken += len(labels)
        return loss

    def loss(self, images, labels):
        """Return the mean cross-entropy, softmax included."""
        with autocast(self.device, self.precision):
            return functional.cross_entropy(self.network(images), labels)

    def __call__(self, images, labels):
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

    def __init__(self, task, network, device):
        super().__init__(task, network, device)
        self.loss = torch.compile(self.loss, dynamic=False)


class GraphStep(Step):
    """The same step captured once for each batch shape as a CUDA graph, and replayed from static inputs."""

    def __init__(self, task, network, device):
        super().__init__(task, network, device)
        self.graphs = {}

    def __call__(self, images, labels):
        """Replay the step on these images; the first of each batch shape captures it."""
        if len(labels) not in self.graphs:
            self.graphs[len(labels)] = self._capture(images, labels)
        graph, static_images, static_labels, loss = self.graphs[len(labels)]
        static_images.copy_(images)
        static_labels.copy_(labels)
        graph.replay()
        return loss

    def _capture(self, images, labels):
        """Capture one step; the steps that PyTorch wants before a capture leave no trace in the weights."""
        static_images, static_labels = images.clone(), labels.clone()
        before = self._state()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(GRAPH_WARMUP_STEPS):
                super().__call__(static_images, static_labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            loss = super().__call__(static_images, static_labels)
        self._restore(before)
        return graph, static_images, static_labels, loss

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
    """The compiled step, captured and replayed as a CUDA graph."""


STEPS = {
    "eager": Step,
    "compile": CompiledStep,
    "cuda_graph": GraphStep,
    "compiled_graph": CompiledGraphStep,
}


def build_step(task, network, device) -> Step:
    """Return the training step that a cell's `execution` names."""
    network.train()
    return STEPS[task.cell.execution](task, network, device)
