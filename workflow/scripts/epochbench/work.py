"""The work that an epoch must do, counted from the network: arithmetic, and values moved through memory."""

from dataclasses import dataclass

import torch

from epochbench.archive import CLASSES
from epochbench.model import NETWORKS, count_parameters

IMAGE = (3, 32, 32)
# Batch normalisation in training needs more than one.
TRACED_IMAGES = 2


@dataclass(frozen=True)
class Operator:
    """One operator of a training step: FLOP and values read or written for each image, and weights for each step."""

    name: str
    flop: float
    values: float
    weights: float = 0.0


def count_work(name: str) -> list[Operator]:
    """Return the operators of a training step of a network as published: forward, backward, loss and update.

    Every input of an operator is read once and every output written once. A multiplication and an addition are two
    FLOP, and only convolutions and matrix products count, as in torch's own counter (a test compares). The gradient of
    the images is never computed.
    """
    # On the CPU: torch's meta device would say the same, but imports torch's compiler, two seconds a run.
    network, images = NETWORKS[name](), torch.zeros(TRACED_IMAGES, *IMAGE)
    operators = []

    def note(layer, inputs, output):
        count = COUNTERS.get(type(layer).__name__)
        if count:
            operators.extend(count(layer, inputs[0], output, inputs[0] is images))

    hooks = [layer.register_forward_hook(note) for layer in network.modules()]
    with torch.no_grad():
        network.train()(images)
    for hook in hooks:
        hook.remove()
    return [*operators, *_loss_and_update(network)]


def flop_per_image(name: str) -> float:
    """Return the FLOP of one image's forward and backward pass; 2,591,440 + 3,301,280 for the seed network."""
    return sum(operator.flop for operator in count_work(name))


def _each(tensor) -> float:
    """Return how many values a tensor has for each image."""
    return tensor.numel() / TRACED_IMAGES


def _product(layer, given, found, on_images: bool) -> list[Operator]:
    """Count a convolution or matrix product: forward, the weights' gradient, and the input's unless that is images."""
    each_output = layer.weight.numel() / layer.weight.shape[0]
    flop = 2 * _each(found) * each_output
    weights = count_parameters(layer)
    passes = ("forward", "weight gradient") if on_images else ("forward", "weight gradient", "input gradient")
    kind = type(layer).__name__
    return [Operator(f"{kind} {which}", flop, _each(given) + _each(found), weights) for which in passes]


def _elementwise(layer, given, found, _) -> list[Operator]:
    """Count an activation or a normalisation: its gradient reads what came in (or out) and the gradient behind it."""
    kind, values = type(layer).__name__, _each(found)
    weights = count_parameters(layer)
    return [Operator(f"{kind} forward", 0, 2 * values, weights), Operator(f"{kind} gradient", 0, 3 * values, weights)]


def _max_pooling(layer, given, found, _) -> list[Operator]:
    """Count max-pooling: its gradient reads the input again to find the maxima, and writes as much."""
    small, large = _each(found), _each(given)
    return [Operator("MaxPool2d forward", 0, large + small), Operator("MaxPool2d gradient", 0, 2 * large + small)]


def _mean_pooling(layer, given, found, _) -> list[Operator]:
    values = _each(given) + _each(found)
    return [Operator(f"mean pooling {which}", 0, values) for which in ("forward", "gradient")]


def _residual(layer, given, found, _) -> list[Operator]:
    """Count a block's shortcut: two values added to one forward, and two gradients to one backward."""
    return [Operator("shortcut forward", 0, 3 * _each(found)), Operator("shortcut gradient", 0, 3 * _each(given))]


COUNTERS = {
    "Conv2d": _product,
    "Linear": _product,
    "ReLU": _elementwise,
    "BatchNorm2d": _elementwise,
    "MaxPool2d": _max_pooling,
    "AdaptiveAvgPool2d": _mean_pooling,
    "BasicBlock": _residual,
}


def _loss_and_update(network) -> list[Operator]:
    """Count the cross-entropy, and momentum's update, which reads weight, gradient and velocity and writes two."""
    return [
        Operator("loss forward", 0, CLASSES + 1),
        Operator("loss gradient", 0, 2 * CLASSES + 1),
        Operator("update", 0, 0, 5 * count_parameters(network)),
    ]


def compulsory_values() -> int:
    """Return the values that must come from memory for an image whatever is fused: its pixels."""
    return torch.Size(IMAGE).numel()
