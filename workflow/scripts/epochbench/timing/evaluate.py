"""How well the network knows the images, once the clock has stopped."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from epochbench.timing.device import Device, autocast
from epochbench.timing.failures import plain_network
from epochbench.timing.load import dataset_of, load_split
from epochbench.timing.network import read_by
from epochbench.timing.task import Task

EVALUATION_BATCH = 1000
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
    network.eval()
    with plain_network(task.cell, dataset_of(task.manifest).image_shape):
        train_accuracy, train_loss, count = _of_split(task, network, device, "train", EVALUATED_TRAIN_IMAGES)
        accuracy, loss, _ = _of_split(task, network, device, "test", None)
    return Evaluation(accuracy, loss, train_accuracy, train_loss, count)


def _of_split(
    task: Task, network: nn.Module, device: Device, split: str, limit: int | None
) -> tuple[float, float, int]:
    """Return accuracy and mean cross-entropy on the first images of a split, and how many they are."""
    images, labels = load_split(task.manifest, split, device.torch_device, limit)
    images = read_by(images, task.cell.model, dataset_of(task.manifest), task.cell.memory_format)
    correct = loss = 0.0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            logits = network(batch).float()
            correct += int((logits.argmax(dim=1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return correct / len(labels), loss / len(labels), len(labels)
