"""The first steps, before the clock: what they cost, and what of them is compared with float64."""

from dataclasses import dataclass

import torch
from torch import nn

from epochbench.timing import evidence, reference
from epochbench.timing.device import Device
from epochbench.timing.failures import plain_network
from epochbench.timing.load import Batches
from epochbench.timing.network import count_parameters
from epochbench.timing.step import Step
from epochbench.timing.task import Task


@dataclass(frozen=True)
class Warmup:
    """The first steps: their seconds and losses, and the weights' change after each of the first few.

    `replay_deviation` is how far a replayed epoch is from its steps, relatively; 0 where an epoch is its steps.
    """

    seconds: list[float]
    losses: list[float]
    updates: list[torch.Tensor]
    replay_deviation: float = 0.0


def warm_up(task: Task, step: Step, network: nn.Module, batches: Batches, device: Device) -> Warmup:
    """Take the first steps, each timed by itself."""
    chosen = task.protocol.warmup_batches(len(batches), len(batches[-1][1]) != len(batches[0][1]))
    checked = evidence.steps_to_check(task.cell.batch_size, task.protocol.warmup_steps, count_parameters(network))
    checked = min(len(batches), checked)
    before = reference.weights(network)
    seconds, losses, updates = [], [], []
    for number in chosen:
        images, labels = batches[number]
        device.start()
        with plain_network(task.cell, images.shape[1:]):
            loss = step.take(images, labels)
        seconds.append(device.stop().wall_seconds)
        losses.append(float(loss))
        if len(losses) <= checked:
            updates.append(reference.weights(network) - before)
    device.start()
    replay_deviation = step.ready(batches)
    seconds.append(device.stop().wall_seconds)
    return Warmup(seconds, losses, updates, replay_deviation)
