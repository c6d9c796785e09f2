"""The published network, and the ways its layers can be computed."""

from types import ModuleType
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from epochbench.errors import BenchmarkError

if TYPE_CHECKING:
    from epochbench.networks._lenet_fused import FusedStep

LAYERS = ("published", "pool_first", "space_to_depth", "fused")
MEMORY_FORMATS = ("contiguous", "channels_last", "onednn", "blocks")
# By layer, as published for CIFAR-10: 1216 + 3208 + 24120 + 10164 + 850.
PUBLISHED_PARAMETERS = 39_558
PUBLISHED_DATA = ((3, 32, 32), 10)
KERNEL = 5
# Two convolutions, each pooled by two, leave one pixel of it.
SMALLEST = 16


def build(shape: tuple[int, int, int], classes: int, layers: str, memory_format: str) -> nn.Sequential:
    """Return the published network; there is no padding and no activation between the Dense layers.

    The softmax is part of the loss. Another image shape changes the first Dense layer alone. With layers `fused` it is
    the network as published, which then holds the weights that `fused_step` trains.
    """
    channels, height, width = shape
    if min(height, width) < SMALLEST:
        raise BenchmarkError(f"model lenet needs images of {SMALLEST}x{SMALLEST} or more, these have {height}x{width}")
    first, second = nn.Conv2d(channels, 16, KERNEL), nn.Conv2d(16, 8, KERNEL)
    opaque = memory_format == "onednn"
    network = nn.Sequential(
        *([ToOneDnn()] if opaque else []),
        *_stage(first, layers, inplace=not opaque),
        *_stage(second, layers, inplace=not opaque),
        *([ToDense()] if opaque else []),
        nn.Flatten(),
        nn.Linear(8 * _after_two_stages(height) * _after_two_stages(width), 120),
        nn.Linear(120, 84),
        nn.Linear(84, classes),
    )
    network.apply(_initialise_as_flux)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert (shape, classes) != PUBLISHED_DATA or parameters == PUBLISHED_PARAMETERS, f"{parameters} parameters"
    return network


def fused_step(network: nn.Sequential, rate: float, momentum: float, batch_size: int) -> "FusedStep":
    """Return the whole training step of such a network written by hand for batches of up to so many images.

    Raises BenchmarkError where there is no Triton, or where the network is for other images.
    """
    return _by_hand().FusedStep(network, rate, momentum, batch_size)


def to_blocks(images: torch.Tensor) -> torch.Tensor:
    """Return images, float [n, 3, 32, 32], as that step reads them: bfloat16 [n, 16, 16, 16], 2x2 blocks of pixels."""
    return _by_hand().to_blocks(images)


def _by_hand() -> ModuleType:
    try:
        import epochbench.networks._lenet_fused as by_hand
    except ImportError as error:
        raise BenchmarkError(
            f"layers fused are written in Triton, which cannot be imported here ({error}); it comes with torch for "
            "GPUs on Linux, elsewhere choose other layers"
        ) from error
    return by_hand


def _after_two_stages(size: int) -> int:
    """Return how many pixels are left of so many after two convolutions, each pooled by two."""
    for _ in range(2):
        size = (size - KERNEL + 1) // 2
    return size


def _stage(convolution: nn.Conv2d, layers: str, inplace: bool) -> list[nn.Module]:
    """Return convolution, activation and pooling, computed as `layers` says.

    A maximum and ReLU commute, so that pooling first leaves ReLU a quarter of the values; ReLU may then work in place,
    since pooling's gradient needs its own input alone (oneDNN's needs its output too).
    """
    if layers in ("published", "fused"):
        return [convolution, nn.ReLU(), nn.MaxPool2d(2)]
    if layers == "pool_first":
        return [convolution, nn.MaxPool2d(2), nn.ReLU(inplace=inplace)]
    return [PackedConvolution(convolution)]


class PackedConvolution(nn.Module):
    """A convolution, 2x2 max-pooling and ReLU as one wider convolution over 2x2 blocks of pixels (space to depth).

    The four pixels of a block become channels, [n, c, h, w] to [n, 4c, h/2, w/2], and the four outputs that are pooled
    become groups of output channels: a kernel of k x k over c channels, k odd, becomes one of (k+1)/2 x (k+1)/2 over
    4c channels with four times the outputs, a part of it zero. Tensor cores want many channels, and the published
    network has 3, 16 and 8: this fills them, for (k+1)^2 / k^2 times the arithmetic. Pooling is then a maximum over the
    groups.
    """

    def __init__(self, convolution: nn.Conv2d):
        super().__init__()
        self.convolution = convolution

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the pooled activations, [n, outputs, (h-k+1)/2, (w-k+1)/2]."""
        kernel, bias = self.convolution.weight, self.convolution.bias
        activations = functional.conv2d(_blocks_to_channels(images), _packed_kernel(kernel), bias.repeat(4))
        groups = activations.unflatten(1, (4, -1)).unbind(1)
        return _maximum(_maximum(groups[0], groups[1]), _maximum(groups[2], groups[3])).relu()


def _maximum(first, second):
    """Return the larger values; of two equal ones the first has the whole gradient, as in max-pooling."""
    return torch.where(first >= second, first, second)


def _blocks_to_channels(images):
    """Return [n, 4c, h/2, w/2]: a channel for each place in a 2x2 block of pixels, in the layout of channels_last."""
    count, channels, height, width = images.shape
    blocks = images.reshape(count, channels, height // 2, 2, width // 2, 2).permute(0, 3, 5, 1, 2, 4)
    packed = blocks.reshape(count, 4 * channels, height // 2, width // 2)
    return packed.contiguous(memory_format=torch.channels_last)


def _packed_kernel(kernel):
    """Return [4o, 4c, (k+1)/2, (k+1)/2]: the kernel at each of the four places of a block that are pooled."""
    outputs, channels, size, _ = kernel.shape
    half = (size + 1) // 2
    places = [functional.pad(kernel, (x, 1 - x, y, 1 - y)) for y in (0, 1) for x in (0, 1)]
    blocks = torch.stack(places).reshape(4, outputs, channels, half, 2, half, 2)
    packed = blocks.permute(0, 1, 4, 6, 2, 3, 5).reshape(4 * outputs, 4 * channels, half, half)
    return packed.contiguous(memory_format=torch.channels_last)


class ToOneDnn(nn.Module):
    """Images into oneDNN's own blocked layout, in which convolutions, pooling and activations then stay."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the same images as an opaque tensor."""
        return images.to_mkldnn()


class ToDense(nn.Module):
    """Activations out of oneDNN's own layout."""

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        """Return the same activations as an ordinary tensor."""
        return activations.to_dense()


def _initialise_as_flux(layer: nn.Module) -> None:
    """Initialise as Flux does by default: weights Glorot uniform (Glorot and Bengio 2010), biases zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
