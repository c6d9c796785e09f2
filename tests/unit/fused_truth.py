"""The hand-written step and the same training by torch in float64, for a CPU (interpreted) and for a real GPU."""

import copy

import torch
from torch.nn import functional
from unit.examples import BASE

from epochbench.timing.network import build_network

RATE, MOMENTUM = 0.01, 0.9


def published(device="cpu", seed=1):
    """The published network, with biases that are not zero, so that a wrong one shows."""
    network = build_network("lenet", BASE.dataset, seed, "fused", "blocks")
    for layer in network:
        if hasattr(layer, "bias"):
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    return network.to(device)


def batch(count, seed=0, device="cpu"):
    """Random images of so many pixels' values from 0 to 1, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 32, 32), generator=generator).float() / 255
    return images.to(device), torch.randint(0, 10, (count,), generator=generator).to(device)


class Truth:
    """The same training in float64 by torch's own modules and optimiser."""

    def __init__(self, network):
        self.network = copy.deepcopy(network).double()
        self.optimizer = torch.optim.SGD(self.network.parameters(), RATE, MOMENTUM)

    def step(self, images, labels):
        self.optimizer.zero_grad()
        loss = functional.cross_entropy(self.network(images.double()), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def gradients(self):
        return [parameter.grad for parameter in self.network.parameters()]

    def weights(self):
        return [parameter.detach() for parameter in self.network.parameters()]


def error(found, expected):
    """How far one tensor is from another, relatively."""
    return float((found.detach().double() - expected).norm() / expected.norm())


def worst(found, expected):
    """The largest error of several tensors."""
    return max(error(one, other) for one, other in zip(found, expected, strict=True))


def fill_with_nan(step):
    """Spoil all that kernels hand to each other: what a step reads it must have written."""
    for buffer in [*step.pooled, *step.hidden, *step.gradients, step.spread, step.blocks_gradient, *step.parts]:
        buffer.fill_(float("nan"))
