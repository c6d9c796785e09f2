"""What a run gathers for its gates, all of it outside the clock."""

import contextlib
import hashlib
import math
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from epochbench.files import write_bytes
from epochbench.timing.load import dataset_of, load_split
from epochbench.timing.network import build_network, trained
from epochbench.timing.provenance import code_digest
from epochbench.timing.task import Task

# Float64 on a CPU takes about a second for this many images of the published network.
CHECKED_IMAGES = 2000
CHECKED_STEPS = 2
# A larger network's updates are too large to cache.
KEPT_PARAMETERS = 1_000_000
FLOAT32_EXPONENT = 0x7F800000
FLOAT32_MANTISSA = 0x007FFFFF


def steps_to_check(batch_size: int, warmup_steps: int) -> int:
    """Return how many of the first steps are compared with float64: as many as take about a second."""
    return max(1, min(CHECKED_STEPS, warmup_steps, CHECKED_IMAGES // batch_size))


def weights(network: nn.Module) -> torch.Tensor:
    """Return a copy of all parameters as one float64 vector on the CPU."""
    return torch.cat([parameter.detach().flatten().cpu().double() for parameter in network.parameters()])


def reference_steps(task: Task, steps: int) -> tuple[list[float], torch.Tensor]:
    """Return the first steps' losses in float64 on the CPU, and how the weights changed over them.

    They are the same for every cell of a network and batch size, so they are computed once and kept beside the shards,
    under a name that says what they depend on.
    """
    kept = _reference_path(task, steps)
    if kept.exists():
        reference = safetensors.torch.load(kept.read_bytes())
        return reference["losses"].tolist(), reference["update"]
    losses, update = _compute_reference(task, steps)
    if update.numel() <= KEPT_PARAMETERS:
        content = safetensors.torch.save({"losses": torch.tensor(losses, dtype=torch.float64), "update": update})
        with contextlib.suppress(OSError):  # shards on a read-only disk: then it is computed each time
            write_bytes(kept, content)
    return losses, update


def _reference_path(task: Task, steps: int) -> Path:
    protocol = task.protocol
    depends = [dataset_of(task.manifest).fingerprint, code_digest(task.cell.model), torch.__version__, task.cell.model]
    depends += [task.cell.batch_size, steps, protocol.seed, protocol.learning_rate, protocol.momentum]
    name = hashlib.sha256(repr(depends).encode()).hexdigest()[:16]
    return Path(task.manifest).parent / f"reference-{name}.float64"


def _compute_reference(task: Task, steps: int) -> tuple[list[float], torch.Tensor]:
    """Take the first steps in float64 on the CPU: their losses, and how the weights changed.

    Momentum is written out (v = momentum v + gradient; weight -= rate v), so that this shares no optimiser, layout,
    graph or autocast with what it checks.
    """
    images, labels = load_split(task.manifest, "train", "cpu", limit=steps * task.cell.batch_size)
    network = build_network(task.cell.model, dataset_of(task.manifest), task.protocol.seed).double().train()
    before = weights(network)
    parameters = list(trained(network).values())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    losses = []
    size = task.cell.batch_size
    for batch, truth in zip(images.split(size), labels.split(size), strict=True):
        loss = torch.nn.functional.cross_entropy(network(batch.double()), truth)
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                velocity.mul_(task.protocol.momentum).add_(gradient)
                parameter.sub_(velocity, alpha=task.protocol.learning_rate)
        losses.append(loss.item())
    return losses, weights(network) - before


def deviations(
    task: Task, losses: list[float], update: torch.Tensor, replayed: float = 0.0
) -> tuple[float | None, float | None]:
    """Return how far the first losses and the weights' change over them are from float64, relatively; None for NaN.

    `replayed` is how far what the clock times is from the steps that were checked: it is at most the sum off.
    """
    expected_losses, expected_update = reference_steps(task, len(losses))
    ratios = [abs(loss - expected) / expected for loss, expected in zip(losses, expected_losses, strict=True)]
    change = float((update - expected_update).norm() / expected_update.norm())
    # max() forgets a NaN that does not come first.
    return max(ratios) if all(map(math.isfinite, ratios)) else None, finite(change + replayed)


def finite(value: float) -> float | None:
    """Return the value, or None for NaN and infinity, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def share_moved(before: list[torch.Tensor], network: nn.Module) -> float:
    """Return the share of the trained parameter tensors that differ from their earlier copies."""
    moved = [not torch.equal(old, new) for old, new in zip(before, trained(network).values(), strict=True)]
    return sum(moved) / len(moved)


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
