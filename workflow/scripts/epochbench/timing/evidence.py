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
# Where rounding alone may move a loss by more than this, it tells nothing, nor do those of later steps.
TOLD_LOSS = 0.2
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


def first_epoch(task: Task, epochs: list[list[float]], update: torch.Tensor) -> FirstEpoch:
    """Return how far whole epochs from the first weights are from float64, and how far rounding alone would be.

    `epochs` are the batches' mean losses of each, `update` is the weights' change over the last one. An epoch of too
    few or too many steps deviates by what is no number.
    """
    steps = math.ceil(dataset_of(task.manifest).train_images / task.cell.batch_size)
    right = reference.reference_steps(task, steps, whole=True)
    rounded = reference.expected(task, right, task.cell.precision, whole=True)
    told = [ROUNDING_FACTOR * off <= TOLD_LOSS for off in [*rounded.losses, math.inf]].index(False)
    off = _losses_off(epochs, [float(of_images.nanmean()) for of_images in right.losses])
    worst = max(range(told), key=lambda step: off[step] - ROUNDING_FACTOR * rounded.losses[step], default=None)
    return FirstEpoch(
        steps=next((len(losses) for losses in epochs if len(losses) != steps), steps),
        compared_losses=told,
        loss_deviation=None if worst is None else finite(off[worst]),
        update_deviation=finite(right.distance(-1, update)),
        expected_loss_deviation=None if worst is None else rounded.losses[worst],
        expected_update_deviation=finite(rounded.updates[-1]),
        late_shares=list(map(finite, right.late_shares(update, task.protocol.momentum))),
        expected_late_deviations=list(map(finite, rounded.late)),
    )


def _losses_off(epochs: list[list[float]], means: list[float]) -> list[float]:
    """Return how far each step's loss is from the right one, relatively, in the epoch in which it is furthest.

    A loss that is no number is infinitely far, and so are all of an epoch of another number of steps.
    """
    if any(len(losses) != len(means) for losses in epochs):
        return [math.inf] * len(means)
    losses, right = (torch.tensor(each, dtype=torch.float64) for each in (epochs, means))
    return (losses / right - 1).abs().nan_to_num(nan=math.inf, posinf=math.inf).amax(dim=0).tolist()


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
