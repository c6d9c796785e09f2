"""torchvision's ResNet-18 (He et al. 2016), for as many classes as the data has."""

from torch import nn
from torchvision.models import resnet18

LAYERS = ("published",)
MEMORY_FORMATS = ("contiguous", "channels_last")


def build(shape: tuple[int, int, int], classes: int, layers: str, memory_format: str) -> nn.Module:
    """Return the network; it takes images of any size."""
    return resnet18(num_classes=classes)
