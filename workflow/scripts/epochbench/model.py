"""The networks that are trained, and the arithmetic they must do."""

import torch
from torch import nn

from epochbench.archive import CLASSES

# By layer, as published for the seed network: 1216 + 3208 + 24120 + 10164 + 850.
LENET_PARAMETERS = 39_558


def lenet() -> nn.Sequential:
    """Return the published network: images float32 [n, 3, 32, 32] to logits [n, 10].

    There is no padding and no activation between the Dense layers; the softmax is part of the loss.
    """
    network = nn.Sequential(
        nn.Conv2d(3, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 8, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(200, 120),
        nn.Linear(120, 84),
        nn.Linear(84, CLASSES),
    )
    network.apply(_initialise_as_flux)
    found = count_parameters(network)
    assert found == LENET_PARAMETERS, f"the seed network has {found} parameters, not {LENET_PARAMETERS}"
    return network


def _initialise_as_flux(layer: nn.Module) -> None:
    """Initialise as Flux does by default: weights Glorot uniform (Glorot and Bengio 2010), biases zero."""
    if isinstance(layer, nn.Conv2d | nn.Linear):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)


def resnet18() -> nn.Module:
    """Return torchvision's ResNet-18 for ten classes: images float32 [n, 3, 32, 32] to logits [n, 10]."""
    from torchvision.models import resnet18 as torchvision_resnet18

    return torchvision_resnet18(num_classes=CLASSES)


NETWORKS = {"lenet": lenet, "resnet18": resnet18}


def build_network(name: str, seed: int) -> nn.Module:
    """Build a network by its name, with the weights that a seed gives."""
    torch.manual_seed(seed)
    return NETWORKS[name]()


def count_parameters(network: nn.Module) -> int:
    """Count the trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def count_flop(name: str) -> int:
    """Count the floating-point operations of one image's forward and backward pass, as torch's counter does.

    A multiplication and an addition are two; only convolutions and matrix products count. For the seed network that is
    2,591,440 forward and 3,301,280 backward, which leaves out the gradient of the images.
    """
    from torch.utils.flop_counter import FlopCounterMode

    images = 2  # batch normalisation needs more than one
    with torch.device("meta"):
        network = NETWORKS[name]()
        batch = torch.empty(images, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(batch).sum().backward()
    return counter.get_total_flops() // images
