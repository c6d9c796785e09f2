"""How well the network knows the test images."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from epochbench.timing.device import Device, autocast
from epochbench.timing.load import load_split
from epochbench.timing.network import tensor_format
from epochbench.timing.task import Task

EVALUATION_BATCH = 1000


@dataclass(frozen=True)
class Evaluation:
    """The share of test images whose class was predicted correctly, and their mean cross-entropy."""

    accuracy: float
    loss: float


def evaluate(task: Task, network: nn.Module, device: Device) -> Evaluation:
    """Evaluate the network as it is after the timed epochs."""
    images, labels = load_split(task.manifest, "test", device.torch_device)
    images = images.contiguous(memory_format=tensor_format(task.cell.memory_format))
    network.eval()
    correct = loss = 0.0
    with torch.inference_mode(), autocast(device, task.cell.precision):
        for batch, truth in zip(images.split(EVALUATION_BATCH), labels.split(EVALUATION_BATCH), strict=True):
            logits = network(batch).float()
            correct += int((logits.argmax(dim=1) == truth).sum())
            loss += float(functional.cross_entropy(logits, truth, reduction="sum"))
    return Evaluation(correct / len(labels), loss / len(labels))
