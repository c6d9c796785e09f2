"""A network by its name, with the weights that a seed gives."""

import torch
from torch import nn

from epochbench import networks
from epochbench.timing.record import Dataset

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def build_network(
    name: str, dataset: Dataset, seed: int, layers: str = "published", memory_format: str = "contiguous"
) -> nn.Module:
    """Build a network by its name for the images of a data set: float32 [n, *shape] to logits [n, classes].

    `layers` and `memory_format` are a cell's columns: whatever they say, the weights are those of the seed.
    """
    torch.manual_seed(seed)
    network = networks.load(name).build(tuple(dataset.image_shape), dataset.classes, layers, memory_format)
    return network.to(memory_format=tensor_format(memory_format))


def tensor_format(memory_format: str) -> torch.memory_format:
    """Return torch's word for the layout of images and weights.

    oneDNN's own is made of contiguous ones inside the network, and `blocks` are of images alone.
    """
    return MEMORY_FORMATS.get(memory_format, torch.contiguous_format)


def trained(network: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name; a network's file freezes others with requires_grad_(False)."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def arranged(images: torch.Tensor, model: str, memory_format: str) -> torch.Tensor:
    """Return images, float32 [n, channels, height, width], in a cell's layout; `blocks` is the network's own.

    Raises BenchmarkError where the network has no such layout for these images.
    """
    if memory_format == "blocks":
        return networks.load(model).to_blocks(images)
    return images.contiguous(memory_format=tensor_format(memory_format))


def count_parameters(network: nn.Module) -> int:
    """Count the numbers in the parameters that are trained."""
    return sum(parameter.numel() for parameter in trained(network).values())
