"""A network by its name, with the weights that a seed gives; what it reads and what it minimises."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from epochbench import networks
from epochbench.timing.examine import Examined, examine, own_loss, parts
from epochbench.timing.record import Dataset

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def examined(name: str, dataset: Dataset) -> Examined:
    """Return what a few images of a data set's shape tell of a network; it is looked at once a process."""
    return examine(networks.load(name).build, tuple(dataset.image_shape), dataset.classes)


def build_network(
    name: str, dataset: Dataset, seed: int, layers: str = "published", memory_format: str = "contiguous"
) -> nn.Module:
    """Build a network by its name for the images of a data set: float32 [n, *shape] to logits [n, classes].

    `layers` and `memory_format` are a cell's columns: whatever they say, the weights are those of the seed. A parameter
    that no gradient reaches is frozen.
    """
    unreached = examined(name, dataset).unreached
    build, shape = networks.load(name).build, tuple(dataset.image_shape)
    network = parts(build, shape, dataset.classes, seed, layers, memory_format).network
    for number, parameter in enumerate(network.parameters()):
        if number in unreached:
            parameter.requires_grad_(False)
    return network.to(memory_format=tensor_format(memory_format))


def tensor_format(memory_format: str) -> torch.memory_format:
    """Return torch's word for the layout of images and weights.

    oneDNN's own is made of contiguous ones inside the network, and `blocks` are of images alone.
    """
    return MEMORY_FORMATS.get(memory_format, torch.contiguous_format)


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; a network's file freezes others with requires_grad_(False)."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def loss_of(network: nn.Module, *where: torch.device | torch.dtype) -> Callable | None:
    """Return a network's own loss on a device or in a type; None where it is the cross-entropy."""
    own = own_loss(network)
    return own.to(*where) if isinstance(own, nn.Module) else own


def mean_loss(
    network: nn.Module, own_loss: Callable | None, inputs: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Return what a step minimises: the mean cross-entropy, softmax included, or the mean of the network's own loss."""
    outputs = network(inputs)
    return functional.cross_entropy(outputs, labels) if own_loss is None else own_loss(outputs, labels).mean()


def arranged(images: torch.Tensor, model: str, dataset: Dataset, memory_format: str) -> torch.Tensor:
    """Return images, float32 [n, channels, height, width], in a cell's layout; `blocks` is the network's own.

    Raises BenchmarkError where the network has no such layout for these images.
    """
    if memory_format == "blocks":
        return networks.load(model).to_blocks(images)
    return read_by(images, model, dataset, memory_format)


def read_by(images: torch.Tensor, model: str, dataset: Dataset, memory_format: str = "contiguous") -> torch.Tensor:
    """Return what a network's forward pass reads: the images, or what its own `inputs` makes of them."""
    inputs = examined(model, dataset).inputs
    read = images if inputs is None else inputs(images)
    return (
        read.contiguous(memory_format=tensor_format(memory_format)) if read.ndim == images.ndim else read.contiguous()
    )


def count_parameters(network: nn.Module) -> int:
    """Count the numbers in the parameters that are trained."""
    return sum(parameter.numel() for parameter in trained(network).values())
