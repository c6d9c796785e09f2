"""One full training step, forward, backward and update, in the ways that a cell's `execution` names."""

import time

import torch
from torch.nn import functional

from epochbench.device import autocast

# PyTorch's own advice before a capture: a few steps on a side stream.
GRAPH_WARMUP_STEPS = 3


class Step:
    """One full training step: forward, backward, update. Images and labels in, the batch's mean loss out."""

    def __init__(self, task, network, device):
        protocol, cell = task.protocol, task.cell
        self.network = network
        self.device = device
        self.precision = cell.precision
        self.micro_batch = cell.micro_batch
        # Fused: one kernel for all parameters, and no question to the host, which a graph could not hold.
        fused = True if cell.execution == "cuda_graph" else None
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=protocol.learning_rate, momentum=protocol.momentum, fused=fused
        )
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
        self.optimizer.zero_grad(set_to_none=True)
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
        """Put a state back in place; momenta that did not exist yet become zero, which is where they begin."""
        with torch.no_grad():
            for index, tensor in enumerate(self._tensors()):
                tensor.copy_(state[index]) if index < len(state) else tensor.zero_()

    def _tensors(self) -> list:
        momenta = [state["momentum_buffer"] for state in self.optimizer.state.values() if "momentum_buffer" in state]
        return [*self.network.state_dict().values(), *momenta]


STEPS = {"eager": Step, "compile": CompiledStep, "cuda_graph": GraphStep}


def build_step(task, network, device) -> Step:
    """Return the training step that a cell's `execution` names."""
    network.train()
    return STEPS[task.cell.execution](task, network, device)
