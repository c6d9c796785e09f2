"""What a run gathers for its gates, all of it outside the clock."""

import math

import torch
from torch import nn

from epochbench.timing import reference
from epochbench.timing.load import dataset_of
from epochbench.timing.record import ROUNDING_FACTOR, FirstEpoch, FirstStep
from epochbench.timing.task import Task

# Float64 on a CPU takes about a second for this many images of the published network.
CHECKED_IMAGES = 2000
CHECKED_STEPS = 2
FLOAT32_EXPONENT = 0x7F800000
FLOAT32_MANTISSA = 0x007FFFFF


def steps_to_check(batch_size: int, warmup_steps: int, parameters: int = 0) -> int:
    """Return how many of the first steps are compared with float64: as many as take about a second, of a small network.

    Of one with more parameters than are compared one by one it is the first alone.
    """
    most = 1 if parameters > reference.COMPARED_WEIGHTS else CHECKED_STEPS
    return max(1, min(most, warmup_steps, CHECKED_IMAGES // batch_size))


def first_steps(task: Task, losses: list[float], updates: list[torch.Tensor], replayed: float = 0.0) -> list[FirstStep]:
    """Return how far each of the first steps is from float64, and how far rounding alone would be; None for NaN.

    `losses` are the batches' mean losses, `updates` the weights' change since the first step began. `replayed` is how
    far what the clock times is from the last of the steps that were checked: it is at most the sum off.
    """
    right = reference.reference_steps(task, len(updates))
    plain = reference.expected(task, right, reference.PLAIN)
    rounded = plain if task.cell.precision == reference.PLAIN else reference.expected(task, right, task.cell.precision)
    off = [0.0] * (len(updates) - 1) + [replayed]
    found = []
    for step, (loss, update) in enumerate(zip(losses, updates, strict=True)):
        mean = float(right.losses[step].nanmean())
        found.append(
            FirstStep(
                loss_deviation=finite(abs(loss - mean) / mean),
                update_deviation=finite(right.distance(step, update) + off[step]),
                expected_loss_deviation=finite(rounded.losses[step]),
                expected_update_deviation=finite(rounded.updates[step]),
                plain_update_deviation=finite(plain.updates[step]),
            )
        )
    return found


def first_epoch(task: Task, losses: list[float], update: torch.Tensor) -> FirstEpoch:
    """Return how far a whole epoch from the first weights is from float64, and how far rounding alone would be.

    `losses` are its batches' mean losses, `update` is the weights' change over it. An epoch of too few or too many
    steps deviates by what is no number.
    """
    steps = math.ceil(dataset_of(task.manifest).train_images / task.cell.batch_size)
    right = reference.reference_steps(task, steps, whole=True)
    rounded = reference.expected(task, right, task.cell.precision, whole=True)
    means = [float(of_images.nanmean()) for of_images in right.losses]
    off = [abs(loss - mean) / mean for loss, mean in zip(losses, means, strict=False)]
    known = len(losses) == steps and all(map(math.isfinite, off))
    worst = max(range(len(off)), key=lambda step: off[step] - ROUNDING_FACTOR * rounded.losses[step]) if known else 0
    return FirstEpoch(
        steps=len(losses),
        loss_deviation=off[worst] if known else None,
        update_deviation=finite(right.distance(-1, update)),
        expected_loss_deviation=finite(rounded.losses[worst]),
        expected_update_deviation=finite(rounded.updates[-1]),
        late_shares=list(map(finite, right.late_shares(update, task.protocol.momentum))),
        expected_late_deviations=list(map(finite, rounded.late)),
    )


def deviations(steps: list[FirstStep]) -> dict[str, float | None]:
    """Return the largest deviation of the first losses, and that of the update over all of them; None for NaN."""
    losses = [step.loss_deviation for step in steps]
    return {
        "loss_deviation": None if None in losses or not losses else max(losses),
        "update_deviation": steps[-1].update_deviation if steps else None,
    }


def finite(value: float) -> float | None:
    """Return the value, or None for NaN and infinity, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def subnormal_share(network: nn.Module) -> float:
    """Return the share of subnormal numbers among float32 weights and gradients.

    Read from the bits: a processor that flushes subnormals takes them for zero when it compares.
    """
    tensors = [tensor for weight in network.parameters() for tensor in (weight, weight.grad) if tensor is not None]
    subnormal = total = 0
    for tensor in tensors:
        bits = tensor.detach().float().contiguous().view(torch.int32)
        subnormal += int((((bits & FLOAT32_EXPONENT) == 0) & ((bits & FLOAT32_MANTISSA) != 0)).sum())
        total += bits.numel()
    return subnormal / total
