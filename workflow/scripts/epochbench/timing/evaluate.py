"""How well the network knows the images, once the clock has stopped."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from epochbench.timing.device import Device, autocast
from epochbench.timing.failures import plain_network
from epochbench.timing.load import dataset_of, load_split
from epochbench.timing.network import read_by
from epochbench.timing.protocol import DEVICE
from epochbench.timing.task import Task

EVALUATION_BATCH = 1000
# Of large images as many as take no more room than those.
EVALUATION_VALUES = EVALUATION_BATCH * 3 * 32 * 32
# Enough to tell what was learned from chance, and soon done.
EVALUATED_TRAIN_IMAGES = 2000


@dataclass(frozen=True)
class Evaluation:
    """How well the network knows the test images, and some of its training images by their labels in the shards.

    Accuracy is the share of images whose class was predicted correctly, loss their mean cross-entropy.
    """

    accuracy: float
    loss: float
    train_accuracy: float
    train_loss: float
    train_images: int


# What the processes of a team say that leave the evaluation to the first of them.
NOT_EVALUATED = Evaluation(0.0, 0.0, 0.0, 0.0, 0)


def evaluate(task: Task, network: nn.Module, device: Device) -> Evaluation:
    """Evaluate the network as it is after the timed epochs."""
    with plain_network(task.cell, dataset_of(task.manifest).image_shape):
        train_accuracy, train_loss, count = _of_split(task, network, device, "train", EVALUATED_TRAIN_IMAGES)
        accuracy, loss, _ = _of_split(task, network, device, "test", None)
    return Evaluation(accuracy, loss, train_accuracy, train_loss, count)


def _of_split(
    task: Task, network: nn.Module, device: Device, split: str, limit: int | None
) -> tuple[float, float, int]:
    """Return accuracy and mean cross-entropy on the first images of a split, and how many they are."""
    images, labels = load_evaluated(task, device, split, limit)
    return *of_images(task, network, device, images, labels), len(labels)


def load_evaluated(
    task: Task, device: Device, split: str, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the first images of a split in the cell's layout, and their labels, where the training images are too."""
    place = device.torch_device if task.protocol.residency == DEVICE else "cpu"
    images, labels = load_split(task.manifest, split, place, limit)
    return read_by(images, task.cell.model, dataset_of(task.manifest), task.cell.memory_format), labels


def of_images(
    task: Task, network: nn.Module, device: Device, images: torch.Tensor, labels: torch.Tensor
) -> tuple[float, float]:
    """Return accuracy and mean cross-entropy on images in the cell's layout; the network is left in evaluation mode."""
    network.eval()
    correct = loss = 0.0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        size = max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // images[0].numel()))
        for batch, truth in zip(images.split(size), labels.split(size), strict=True):
            batch, truth = batch.to(device.torch_device), truth.to(device.torch_device)
            logits = network(batch).float()
            correct += int((logits.argmax(dim=1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return correct / len(labels), loss / len(labels)
