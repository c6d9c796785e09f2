"""What a few images tell of a network before it is timed: what it reads, what trains in it, what is left to chance."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from epochbench.timing.record import Network

# A network's own loss, where a step finds it. Not as a module of it: nn.Sequential would call that as a layer.
OWN_LOSS = "own_loss"
# Batch normalisation in training needs more than one; half of them tell whether each is read by itself.
IMAGES = 4
NONE, SWITCHED_OFF, ALWAYS = "none", "switched off", "always"


class UnfitError(ValueError):
    """A network that is not what a factory should make."""


@dataclass(frozen=True)
class Parts:
    """What a factory makes: the network, whose own loss is its attribute, and what it reads instead of images."""

    network: nn.Module
    inputs: Callable[[torch.Tensor], torch.Tensor] | None


@dataclass(frozen=True)
class Examined:
    """What a few images told of a network.

    `unreached` are the places, among all parameters, of those that ask for a gradient and get none. `randomness` says
    whether training draws random numbers, and whether it stops where `hold_still` is called. Of an image, `input_bytes`
    is what the network reads, `kept_bytes` what a forward pass in float32 keeps for the backward pass.
    """

    inputs: Callable[[torch.Tensor], torch.Tensor] | None
    unreached: frozenset[int]
    randomness: str
    input_bytes: float
    kept_bytes: float
    missed: list[str]
    state: int
    own_loss: bool

    def told(self, source: str, unchecked: str | None) -> Network:
        """Return what a record keeps of this."""
        return Network(source, self.randomness, self.missed, self.state, self.own_loss, unchecked)


def parts(build: Callable, shape: tuple, classes: int, seed: int, layers: str, memory_format: str) -> Parts:
    """Return what a network's file makes, its weights drawn from a seed."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    made = build(shape, classes, layers, memory_format)
    network, loss, inputs = (*made, None, None)[:3] if isinstance(made, tuple) else (made, None, None)
    if not isinstance(network, nn.Module):
        raise UnfitError(f"the factory returned {_kind(made)}, not a torch.nn.Module")
    for name, function in (("loss", loss), ("inputs", inputs)):
        if function is not None and not callable(function):
            raise UnfitError(f"the {name} that the factory returned is {_kind(function)}, not a function")
    network.__dict__[OWN_LOSS] = loss
    return Parts(network, inputs)


def hold_still(network: nn.Module) -> None:
    """Switch dropout and its like off in a network that trains: all that is done in training but normalisation.

    On a GPU no recurrent layer that does not train has a backward pass; its dropout is set to 0.
    """
    for module in network.modules():
        module.training = isinstance(module, _NormBase | nn.RNNBase)
        if isinstance(module, nn.RNNBase):
            module.dropout = 0.0


@cache
def examine(build: Callable, shape: tuple, classes: int) -> Examined:
    """Look at a network on the CPU, with a forward and a backward pass of a few images that are noise.

    Raises UnfitError where it is not what a factory should make, and whatever its own code raises.
    """
    with torch.device("cpu"), torch.random.fork_rng(devices=[]):
        made, again = (parts(build, shape, classes, 0, "published", "contiguous") for _ in range(2))
        _require_same(made.network, again.network)
        images = torch.rand(IMAGES, *shape, generator=torch.Generator().manual_seed(0))
        read = _read(made.inputs, images)
        made.network.train()
        before = _buffers(made.network)
        randomness = _randomness(made.network, again.network, read)
        losses, kept_bytes = _losses(made.network, read, classes)
        losses.mean().backward()
        moved = [name for name, old in before.items() if not torch.equal(old, made.network.get_buffer(name))]
        missed = {
            number: name
            for number, (name, parameter) in enumerate(made.network.named_parameters())
            if parameter.requires_grad and parameter.grad is None
        }
    return Examined(
        inputs=made.inputs,
        unreached=frozenset(missed),
        randomness=randomness,
        input_bytes=read.nbytes / IMAGES,
        kept_bytes=kept_bytes / IMAGES,
        missed=list(missed.values()),
        state=len(moved),
        own_loss=own_loss(made.network) is not None,
    )


def each_loss(network: nn.Module, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return each image's loss, [n]: the network's own, or else the cross-entropy, softmax included."""
    own = own_loss(network)
    return functional.cross_entropy(outputs, labels, reduction="none") if own is None else own(outputs, labels)


def own_loss(network: nn.Module) -> Callable | None:
    """Return the loss that a factory returned beside its network, which a team may have wrapped."""
    inner = network if OWN_LOSS in network.__dict__ else getattr(network, "module", network)
    return inner.__dict__.get(OWN_LOSS)


def _losses(network: nn.Module, read: torch.Tensor, classes: int) -> tuple[torch.Tensor, int]:
    """Return each image's loss, and the bytes kept for the backward pass beside the weights."""
    kept = {}
    with saved_tensors_hooks(lambda saved: _noted(saved, kept), lambda saved: saved):
        outputs = network(read)
        _require_logits(outputs, classes)
        losses = each_loss(network, outputs, torch.arange(IMAGES) % classes)
        _require_losses(losses)
    weights = {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
    return losses, sum(size for start, size in kept.items() if start not in weights)


def _noted(saved: torch.Tensor, kept: dict[int, int]) -> torch.Tensor:
    """Note the memory that a tensor kept for the backward pass takes, once however many share it."""
    memory = saved.untyped_storage()
    kept[memory.data_ptr()] = memory.nbytes()
    return saved


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _read(inputs: Callable | None, images: torch.Tensor) -> torch.Tensor:
    """Return what the network reads of some images, once it is known that each is read by itself."""
    if inputs is None:
        return images
    read, half = inputs(images), inputs(images[: IMAGES // 2])
    if not isinstance(read, torch.Tensor) or read.ndim == 0 or len(read) != IMAGES:
        shown = list(read.shape) if isinstance(read, torch.Tensor) else _kind(read)
        raise UnfitError(f"its inputs(images) returned {shown} of {IMAGES} images, not a tensor with a row an image")
    if not torch.equal(read[: IMAGES // 2], half):
        raise UnfitError("its inputs(images) depend on more than each image by itself")
    return read


def _require_same(one: nn.Module, other: nn.Module) -> None:
    """Raise UnfitError where two calls with one seed made two networks: every run and its reference make their own."""
    mine, others = list(one.named_parameters()), list(other.named_parameters())
    for (name, parameter), (_, again) in zip(mine, others, strict=False):
        if not torch.equal(parameter.nan_to_num(), again.nan_to_num()):
            raise UnfitError(
                f"the factory made other weights when called again ({name}): draw them from torch's generator"
            )


def _require_logits(outputs: object, classes: int) -> None:
    wanted = f"float [{IMAGES}, {classes}] of {IMAGES} images and {classes} classes"
    if not isinstance(outputs, torch.Tensor):
        raise UnfitError(f"the network returned {_kind(outputs)}, not logits, {wanted}")
    if list(outputs.shape) != [IMAGES, classes] or not outputs.is_floating_point():
        raise UnfitError(f"the network returned {str(outputs.dtype)[6:]} {list(outputs.shape)}, not logits, {wanted}")


def _require_losses(losses: object) -> None:
    if not isinstance(losses, torch.Tensor) or list(losses.shape) != [IMAGES]:
        shown = list(losses.shape) if isinstance(losses, torch.Tensor) else _kind(losses)
        raise UnfitError(f"its loss returned {shown} of {IMAGES} images, not one number an image: use reduction='none'")


def _randomness(network: nn.Module, again: nn.Module, read: torch.Tensor) -> str:
    """Tell whether a network draws random numbers as it trains, and whether it, made again, does when held still."""
    if not _draws(network, read):
        return NONE
    hold_still(again)
    return ALWAYS if _draws(again, read) else SWITCHED_OFF


def _draws(network: nn.Module, read: torch.Tensor) -> bool:
    """Tell whether a forward pass takes numbers from torch's generator, or cannot be had a second time."""
    before, state = _buffers(network), torch.get_rng_state()
    with torch.no_grad():
        first = network(read)
        drew = not torch.equal(state, torch.get_rng_state())
        _restore(network, before)
        second = network(read)
        _restore(network, before)
    return drew or (isinstance(first, torch.Tensor) and not torch.equal(first.nan_to_num(), second.nan_to_num()))


def _buffers(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def _restore(network: nn.Module, buffers: dict[str, torch.Tensor]) -> None:
    for name, earlier in buffers.items():
        network.get_buffer(name).copy_(earlier)
