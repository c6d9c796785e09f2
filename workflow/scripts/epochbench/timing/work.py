"""The work that an epoch must do, counted by tracing the network: arithmetic, and values moved through memory."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from epochbench.timing.network import build_network, count_parameters, loss_of, mean_loss, read_by
from epochbench.timing.record import Dataset

# What an update reads and writes of every parameter: weight, gradient and moments in, weight and moments out. Momentum
# has one moment, Adam two. Kernels that go through memory several times move more, which is theirs to avoid.
MOVED_BY_UPDATE = {"sgd": 5, "adam": 7, "adamw": 7}
# Batch normalisation in training needs more than one image.
TRACED_IMAGES = (2, 4)


@dataclass(frozen=True)
class Operator:
    """One operator of a training step: what it takes for each image, and what for the step, however many images.

    `flop` and the `values` (floating-point numbers) and `other_bytes` (indices, labels) that it reads and writes are of
    an image; `weights` are the values that it reads and writes once a step.
    """

    name: str
    flop: float
    values: float
    other_bytes: float = 0.0
    weights: float = 0.0


@dataclass(frozen=True)
class _Call:
    name: str
    flop: int
    values: int
    other_bytes: int


class _Tracer(TorchDispatchMode):
    """Notes every operator that is dispatched and moves data."""

    def __init__(self):
        super().__init__()
        self.calls: list[_Call] = []

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here; guarding against it would import torch's compiler, a second a run.
        return False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        result = operator(*args, **(kwargs or {}))
        if not _moves_nothing(operator):
            count = flop_registry.get(operator.overloadpacket)
            flop = count(*args, **(kwargs or {}), out_val=result) if count else 0
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            values = sum(tensor.numel() for tensor in tensors if tensor.is_floating_point())
            others = sum(tensor.nbytes for tensor in tensors if not tensor.is_floating_point())
            self.calls.append(_Call(str(operator.overloadpacket), flop, values, others))
        return result


def _moves_nothing(operator: torch._ops.OpOverload) -> bool:
    """Tell whether an operator only looks at a tensor in another way, or only reserves memory."""
    views = any(one.alias_info and not one.alias_info.is_write for one in operator._schema.returns)
    return views or operator.overloadpacket in (torch.ops.aten.empty, torch.ops.aten.empty_like, torch.ops.aten.detach)


def count_work(
    model: str,
    dataset: Dataset,
    layers: str = "published",
    memory_format: str = "contiguous",
    optimizer: str = "sgd",
) -> list[Operator]:
    """Return the operators of a training step of a network: forward, loss, backward and update.

    `layers` and `memory_format` are a cell's columns, so that a cell's own graph counts itself; `optimizer` is the
    protocol's.

    A real pass is traced on a few images and on twice as many: what grows is of the images, the rest is of the step.
    FLOP are torch's own count; every input of an operator is read once and every output written once. Left out: FLOP
    of anything but convolutions, matrix products and attention, and what an operator moves within itself.
    """
    network = build_network(model, dataset, 0, layers, memory_format).train()
    few, more = (_trace(network, model, dataset, images, memory_format) for images in TRACED_IMAGES)
    alike = [one.name for one in few] == [other.name for other in more]
    # A network whose operators depend on how many images there are: all of it is counted as of the images.
    operators = [_scaling(*calls) for calls in zip(few, more, strict=True)] if alike else list(map(_of_images, more))
    return [*operators, Operator("update", 0, 0, weights=MOVED_BY_UPDATE[optimizer] * count_parameters(network))]


def _trace(network: nn.Module, model: str, dataset: Dataset, count: int, memory_format: str) -> list[_Call]:
    """Return what a forward pass, its loss and their backward pass dispatch for so many images, on the CPU.

    torch's meta device would say the same, but imports torch's compiler, two seconds a run.
    """
    images, labels = torch.zeros(count, *dataset.image_shape), torch.zeros(count, dtype=torch.int64)
    inputs = read_by(images, model, dataset, memory_format)
    network.zero_grad()
    with _Tracer() as tracer:
        mean_loss(network, loss_of(network), inputs, labels).backward()
    return tracer.calls


def _scaling(few: _Call, more: _Call) -> Operator:
    """Tell what of an operator grows with the images from what does not."""
    few_images, more_images = TRACED_IMAGES
    flop, values, other_bytes = (
        (getattr(more, name) - getattr(few, name)) / (more_images - few_images)
        for name in ("flop", "values", "other_bytes")
    )
    return Operator(few.name, flop, values, other_bytes, weights=few.values - few_images * values)


def _of_images(call: _Call) -> Operator:
    """Count all that an operator does as of the images."""
    images = TRACED_IMAGES[1]
    return Operator(call.name, call.flop / images, call.values / images, call.other_bytes / images)


def flop_per_image(model: str, dataset: Dataset) -> float:
    """Return the FLOP of one image's forward and backward pass; 2,591,440 + 3,301,280 for the published network."""
    return sum(operator.flop for operator in count_work(model, dataset))
