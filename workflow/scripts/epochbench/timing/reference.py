"""The first steps in float64 on the CPU, and how far from them each precision's rounding alone leads."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import safetensors.torch
import torch
from torch import nn

from epochbench.files import write_bytes
from epochbench.timing.examine import ALWAYS, NONE, each_loss, hold_still
from epochbench.timing.load import dataset_of, load_split
from epochbench.timing.network import build_network, examined, loss_of, read_by, trained
from epochbench.timing.provenance import code_digest
from epochbench.timing.rounding import rounded_as
from epochbench.timing.task import Task

# Of a larger network every second, third, ... weight of each parameter is compared, so that about as many are: more are
# not worth their place. They are kept in float32 where they take megabytes.
COMPARED_WEIGHTS = 20_000_000
FLOAT64_PARAMETERS = 1_000_000
PLAIN = "fp32"


@dataclass(frozen=True)
class Steps:
    """The first steps: each image's loss [steps, batch], and the weights' change since the first began [steps, n].

    A smaller last batch is filled up with NaN.
    """

    losses: torch.Tensor
    updates: torch.Tensor


@dataclass(frozen=True)
class Expected:
    """How far each of the first steps may be expected to be from float64, relatively.

    `losses` is the root mean square over single images, over their mean loss: a batch's mean loss is off by no more.
    """

    losses: list[float]
    updates: list[float]


def weights(network: nn.Module) -> torch.Tensor:
    """Return a copy of the weights that are compared, of all parameters, as one float64 vector on the CPU."""
    return sampled(list(network.parameters()))


def sampled(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the numbers that are compared, of a tensor for each parameter, as one float64 vector on the CPU."""
    every = max(1, -(-sum(tensor.numel() for tensor in tensors) // COMPARED_WEIGHTS))
    return torch.cat([tensor.detach().flatten()[::every].cpu().double() for tensor in tensors])


def reference_steps(task: Task, steps: int) -> Steps:
    """Return the first steps in float64 on the CPU.

    They are the same for every cell of a network, batch size and learning rate, so they are computed once and kept
    beside the shards, under a name that says what they depend on.
    """
    kept = _path(task, steps, "float64")
    if kept.exists():
        stored = safetensors.torch.load(kept.read_bytes())
        return Steps(stored["losses"], stored["updates"].double())
    found = _computed(task, steps, torch.float64, PLAIN)
    updates = found.updates if found.updates.shape[1] <= FLOAT64_PARAMETERS else found.updates.float()
    _keep(kept, {"losses": found.losses, "updates": updates})
    return found


def why_not(task: Task) -> str | None:
    """Return why the first steps of a network cannot be compared with float64, None where they can."""
    dataset = dataset_of(task.manifest)
    looked_at = examined(task.cell.model, dataset)
    if looked_at.randomness == ALWAYS:
        return "the network draws random numbers even where dropout is off, so that no two computations of it agree"
    needed = 2 * looked_at.kept_bytes * (task.cell.micro_batch or task.cell.batch_size / task.cell.processes)
    free = psutil.virtual_memory().available
    if needed > free:
        return f"a batch in float64 takes {needed / 1e9:.2g} GB, and {free / 1e9:.2g} GB are free here"
    return None


def expected(task: Task, reference: Steps, precision: str) -> Expected:
    """Return how far the first steps are from float64 in float32 on the CPU, rounded as a precision rounds.

    It shares no layout, graph, library or device with what is checked, and is kept beside the shards too.
    """
    steps = len(reference.updates)
    kept = _path(task, steps, precision)
    if kept.exists():
        stored = safetensors.torch.load(kept.read_bytes())
        return Expected(stored["losses"].tolist(), stored["updates"].tolist())
    rounded = _computed(task, steps, torch.float32, precision)
    off = [
        ((mine - right)[~right.isnan()].square().mean().sqrt() / right.nanmean()).item()
        for mine, right in zip(rounded.losses, reference.losses, strict=True)
    ]
    moved = [distance(mine, right) for mine, right in zip(rounded.updates, reference.updates, strict=True)]
    _keep(kept, {"losses": torch.tensor(off, dtype=torch.float64), "updates": torch.tensor(moved, dtype=torch.float64)})
    return Expected(off, moved)


def distance(update: torch.Tensor, right: torch.Tensor) -> float:
    """Return how far an update of the weights is from the right one, relative to that one's length."""
    return float((update - right).norm() / right.norm())


def _keep(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with contextlib.suppress(OSError):  # shards on a read-only disk: then it is computed each time
        write_bytes(path, safetensors.torch.save(tensors))


def _path(task: Task, steps: int, kind: str) -> Path:
    cell, protocol = task.cell, task.protocol
    depends = [dataset_of(task.manifest).fingerprint, code_digest(cell.model), torch.__version__, cell.model, steps]
    depends += [cell.batch_size, cell.micro_batch, cell.processes]
    depends += [protocol.seed, protocol.rate(cell.batch_size), protocol.momentum]
    name = hashlib.sha256(repr(depends).encode()).hexdigest()[:16]
    return Path(task.manifest).parent / f"reference-{name}.{kind}"


def _computed(task: Task, steps: int, kind: torch.dtype, precision: str) -> Steps:
    """Take the first steps on the CPU in a floating-point type.

    Momentum is written out (v = momentum v + gradient; weight -= rate v), so that this shares no optimiser, layout,
    graph or autocast with what it checks. Batch normalisation sees the parts of a batch that the cell computes alone.
    """
    size, protocol = task.cell.batch_size, task.protocol
    images, labels = load_split(task.manifest, "train", "cpu", limit=steps * size)
    dataset = dataset_of(task.manifest)
    network = build_network(task.cell.model, dataset, protocol.seed).to(kind).train()
    loss_of(network, kind)
    if examined(task.cell.model, dataset).randomness != NONE:
        hold_still(network)
    images = read_by(images, task.cell.model, dataset)
    images = images.to(kind) if images.is_floating_point() else images
    before, parameters = weights(network), list(trained(network).values())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    losses, updates = [], []
    for batch, truth in zip(images.split(size), labels.split(size), strict=True):
        with _default_type(kind):
            of_images, gradients = _gradients(task, network, batch, truth, precision)
        with torch.no_grad():
            for parameter, velocity, gradient in zip(parameters, velocities, gradients, strict=True):
                velocity.mul_(protocol.momentum).add_(gradient)
                parameter.sub_(velocity, alpha=protocol.rate(size))
        losses.append(of_images)
        updates.append(weights(network) - before)
    return Steps(nn.utils.rnn.pad_sequence(losses, batch_first=True, padding_value=torch.nan), torch.stack(updates))


@contextlib.contextmanager
def _default_type(kind: torch.dtype) -> Iterator[None]:
    """Let what a network makes as it computes have the type that it is computed in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(kind)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _gradients(task: Task, network: nn.Module, batch, truth, precision: str):
    """Return each image's loss, and the gradients of a batch's mean loss."""
    cell, parameters = task.cell, list(trained(network).values())
    losses, sums = [], [torch.zeros_like(parameter) for parameter in parameters]
    shares = zip(batch.chunk(cell.processes), truth.chunk(cell.processes), strict=True)
    for share, labels in shares:
        size = cell.micro_batch or len(labels)
        for part, part_labels in zip(share.split(size), labels.split(size), strict=True):
            with rounded_as(precision):
                each = each_loss(network, network(part), part_labels)
                gradients = torch.autograd.grad(each.sum() / len(truth), parameters)
            losses.append(each.detach().double())
            for total, gradient in zip(sums, gradients, strict=True):
                total.add_(gradient)
    return torch.cat(losses), sums
