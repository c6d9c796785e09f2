"""The first steps in float64 on the CPU, and how far from them each precision's rounding alone leads."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import safetensors.torch
import torch
from torch import nn

from epochbench.files import write_bytes
from epochbench.timing.examine import ALWAYS, NONE, each_loss, hold_still
from epochbench.timing.load import dataset_of, load_split
from epochbench.timing.network import build_network, examined, loss_of, read_by, trained
from epochbench.timing.protocol import ADAM_EPSILON, ADAM_SECOND_BETA, Protocol
from epochbench.timing.provenance import code_digest
from epochbench.timing.rounding import rounded_as
from epochbench.timing.task import Task

# Of a larger network every second, third, ... weight of each parameter is compared, so that about as many are: more are
# not worth their place. They are kept in float32 where they take megabytes.
COMPARED_WEIGHTS = 20_000_000
FLOAT64_PARAMETERS = 1_000_000
PLAIN = "fp32"
# In fp32 it is by luck that no maximum or ReLU of an epoch is decided the other way, and weights part where one is: on
# the full-size stand-in torch was off by 1.6e-4 with oneDNN and 5.3e-4 without, JAX by 6.4e-4, Keras by 6.1e-4. Begun
# from weights that are off by a few units in the last place, as sums in another order are, by 5.4e-4 to 9.1e-4.
DRAWS = (1, 2)
LAST_PLACES = 5e-7
# Of an epoch each of so many last steps is looked for by itself in the update, of which they are a small part.
LATE_STEPS = 20


@dataclass(frozen=True)
class Steps:
    """The first steps: each image's loss [steps, batch], and the weights' change since the first began [steps, n].

    Of a whole epoch `updates` has those after the last steps alone, and the two before them, [at most LATE_STEPS + 2,
    n]; before the first step they are zero. A smaller last batch is filled up with NaN. `scales` are what each weight's
    change counts with when it is held against another's [steps, n], None where all count alike, and of an epoch.
    """

    losses: torch.Tensor
    updates: torch.Tensor
    scales: torch.Tensor | None = None

    def distance(self, step: int, update: torch.Tensor) -> float:
        """Return how far another update is from that of a step, relative to that one's length."""
        return distance(update, self.updates[step], None if self.scales is None else self.scales[step])

    def late_shares(self, update: torch.Tensor, momentum: float) -> list[float]:
        """Return how much of what each of an epoch's last steps moves is in another epoch's update: 1 is all of it.

        Where SGD leaves a step out, its own move is missing and, to first order, what that would have changed in the
        moves after it. If that evens out, the epoch is still a step behind at its end, and the last one is missing.
        What rounding leads astray lies across all that: in bf16, where updates were off by as much as the last step
        moves them, the shares were 0.97 to 1.05. Without one of the last twenty steps the least was below 0.08.
        """
        moves, shares = self.updates.diff(dim=0), []
        for number in range(1, len(moves)):
            later = momentum * (1 - momentum ** (len(moves) - 1 - number)) / (1 - momentum)
            missing = moves[number] + later * (moves[number] - moves[number - 1])
            shares.append(1 + float((update - self.updates[-1]) @ missing / (missing @ missing)))
        return shares


@dataclass(frozen=True)
class Expected:
    """How far each of the first steps may be expected to be from float64, relatively.

    `losses` is the root mean square over single images, over their mean loss: a batch's mean loss is off by no more. Of
    a whole epoch it is what the mean losses are off by, `updates` has the whole one alone, and `late` is what each of
    Steps.late_shares is off by.
    """

    losses: list[float]
    updates: list[float]
    late: list[float] = field(default_factory=list)


def weights(network: nn.Module) -> torch.Tensor:
    """Return a copy of the weights that are compared, of all parameters, as one float64 vector on the CPU."""
    return sampled(list(network.parameters()))


def sampled(tensors: list[torch.Tensor]) -> torch.Tensor:
    """Return the numbers that are compared, of a tensor for each parameter, as one float64 vector on the CPU."""
    every = max(1, -(-sum(tensor.numel() for tensor in tensors) // COMPARED_WEIGHTS))
    return torch.cat([tensor.detach().flatten()[::every].cpu().double() for tensor in tensors])


def reference_steps(task: Task, steps: int, whole: bool = False) -> Steps:
    """Return the first steps in float64 on the CPU; `whole` tells that they are an epoch.

    They are the same for every cell of a network, batch size and learning rate, so they are computed once and kept
    beside the shards, under a name that says what they depend on.
    """
    kept = _path(task, steps, "float64", whole)
    if kept.exists():
        stored = safetensors.torch.load(kept.read_bytes())
        return Steps(stored["losses"], stored["updates"].double(), stored.get("scales"))
    found = _computed(task, steps, torch.float64, PLAIN, whole)
    updates = found.updates if found.updates.shape[1] <= FLOAT64_PARAMETERS else found.updates.float()
    scales = {} if found.scales is None else {"scales": found.scales}
    _keep(kept, {"losses": found.losses, "updates": updates} | scales)
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


def expected(task: Task, reference: Steps, precision: str, whole: bool = False) -> Expected:
    """Return how far the first steps are from float64 in float32 on the CPU, rounded as a precision rounds.

    It shares no layout, graph, library or device with what is checked, and is kept beside the shards too.
    """
    steps = len(reference.losses)
    kept = _path(task, steps, precision, whole)
    if kept.exists():
        return Expected(**{name: each.tolist() for name, each in safetensors.torch.load(kept.read_bytes()).items()})
    draws = (None, *DRAWS) if whole and precision == PLAIN else (None,)
    off = _epoch_off if whole else _steps_off
    every = [off(task, _computed(task, steps, torch.float32, precision, whole, draw), reference) for draw in draws]
    columns = {name: [getattr(each, name) for each in every] for name in ("losses", "updates", "late")}
    worst = {name: torch.tensor(each, dtype=torch.float64).max(dim=0).values for name, each in columns.items()}
    _keep(kept, worst)
    return Expected(**{name: each.tolist() for name, each in worst.items()})


def _steps_off(task: Task, rounded: Steps, reference: Steps) -> Expected:
    updates = [reference.distance(step, update) for step, update in enumerate(rounded.updates)]
    return Expected(_images_off(rounded.losses, reference.losses), updates)


def _epoch_off(task: Task, rounded: Steps, reference: Steps) -> Expected:
    update = rounded.updates[-1]
    late = [abs(share - 1) for share in reference.late_shares(update, task.protocol.momentum)]
    return Expected(_means_off(rounded.losses, reference.losses), [reference.distance(-1, update)], late)


def _images_off(found: torch.Tensor, right: torch.Tensor) -> list[float]:
    """Return the root mean square over single images of what a step's losses [steps, batch] are off by, relatively."""
    return ((found - right).square().nanmean(dim=1).sqrt() / right.nanmean(dim=1)).tolist()


def _means_off(found: torch.Tensor, right: torch.Tensor) -> list[float]:
    """Return what each step's mean loss may be off by, relatively: what it, or one before it, is.

    Weights that rounding leads astray do not come back. One mean may be right by luck: it counts for no less than what
    single images are off by, were they independent.
    """
    means = (found.nanmean(dim=1) / right.nanmean(dim=1) - 1).abs().cummax(dim=0).values
    alone = torch.tensor(_images_off(found, right)) / (~right.isnan()).sum(dim=1).sqrt()
    return torch.maximum(means, alone).tolist()


def distance(update: torch.Tensor, right: torch.Tensor, scale: torch.Tensor | None = None) -> float:
    """Return how far an update of the weights is from the right one, relative to that one's length.

    `scale` is what each weight counts with; without it all count alike.
    """
    if scale is not None:
        update, right = update * scale, right * scale
    return float((update - right).norm() / right.norm())


def _keep(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    with contextlib.suppress(OSError):  # shards on a read-only disk: then it is computed each time
        write_bytes(path, safetensors.torch.save(tensors))


def _path(task: Task, steps: int, kind: str, whole: bool) -> Path:
    cell, protocol = task.cell, task.protocol
    depends = [dataset_of(task.manifest).fingerprint, code_digest(cell.model), torch.__version__, cell.model, steps]
    depends += [cell.batch_size, cell.micro_batch, cell.processes]
    depends += [protocol.seed, protocol.rate(cell.batch_size), protocol.momentum]
    depends += [protocol.optimizer, protocol.weight_decay]
    name = hashlib.sha256(repr(depends).encode()).hexdigest()[:16]
    return Path(task.manifest).parent / f"reference-{name}.{'epoch-' if whole else ''}{kind}"


def _computed(
    task: Task, steps: int, kind: torch.dtype, precision: str, whole: bool = False, draw: int | None = None
) -> Steps:
    """Take the first steps on the CPU in a floating-point type; a draw begins some units in the last place off.

    The optimiser is written out, so that this shares none, nor a layout, graph or autocast, with what it checks. Batch
    normalisation sees the parts of a batch that the cell computes alone.
    """
    size, protocol = task.cell.batch_size, task.protocol
    images, labels = load_split(task.manifest, "train", "cpu", limit=steps * size)
    dataset = dataset_of(task.manifest)
    network = build_network(task.cell.model, dataset, protocol.seed).to(kind).train()
    loss_of(network, kind)
    if draw is not None:
        _nudge(network, draw)
    if examined(task.cell.model, dataset).randomness != NONE:
        hold_still(network)
    images = read_by(images, task.cell.model, dataset)
    before, parameters = weights(network), list(trained(network).values())
    update = _Adam(protocol, size, parameters) if protocol.optimizer != "sgd" else _Momentum(protocol, size, parameters)
    losses, updates, scales = [], [torch.zeros_like(before)] * 2 if whole else [], []
    for batch, truth in zip(images.split(size), labels.split(size), strict=True):
        batch = batch.to(kind) if batch.is_floating_point() else batch
        with _default_type(kind):
            of_images, gradients = _gradients(task, network, batch, truth, precision)
        with torch.no_grad():
            update.apply(gradients)
        losses.append(of_images)
        updates = (updates[-LATE_STEPS - 1 :] if whole else updates) + [weights(network) - before]
        scales = [None] if whole else [*scales, update.scale(network)]
    padded = nn.utils.rnn.pad_sequence(losses, batch_first=True, padding_value=torch.nan)
    return Steps(padded, torch.stack(updates), None if scales[0] is None else torch.stack(scales))


def _nudge(network: nn.Module, draw: int) -> None:
    """Move each weight by some units in its last place, at random."""
    generator = torch.Generator().manual_seed(draw)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1 + LAST_PLACES * (2 * torch.rand(parameter.shape, generator=generator) - 1))


class _Momentum:
    """v = momentum v + gradient; weight -= rate v. Weight decay times the weight is a part of its gradient."""

    def __init__(self, protocol: Protocol, batch_size: int, parameters: list[nn.Parameter]):
        self.protocol, self.parameters, self.rate = protocol, parameters, protocol.rate(batch_size)
        self.velocities = [torch.zeros_like(parameter) for parameter in parameters]

    def apply(self, gradients: list[torch.Tensor]) -> None:
        for parameter, velocity, gradient in zip(self.parameters, self.velocities, gradients, strict=True):
            velocity.mul_(self.protocol.momentum).add_(gradient)
            if self.protocol.weight_decay:
                velocity.add_(parameter, alpha=self.protocol.weight_decay)
            parameter.sub_(velocity, alpha=self.rate)

    def scale(self, network: nn.Module) -> None:
        """Return None: an update is as far off as its gradients are."""


class _Adam:
    """Adam, and with it AdamW, as Kingma and Ba (2015) and Loshchilov and Hutter (2019) write them.

    An update has the rate's size however small its gradient is. Where that is as small as its own rounding, its sign is
    a matter of luck, and so is the update's direction. So a weight counts with the least root of mean squares that it
    has had: what the first steps may be off by is then in proportion to what their gradients are off by, as for SGD,
    while a wrong size of the updates is seen undiminished.
    """

    def __init__(self, protocol: Protocol, batch_size: int, parameters: list[nn.Parameter]):
        self.protocol, self.parameters, self.rate = protocol, parameters, protocol.rate(batch_size)
        self.means, self.squares = ([torch.zeros_like(parameter) for parameter in parameters] for _ in range(2))
        self.least = [torch.full_like(parameter, torch.inf) for parameter in parameters]
        self.count = 0

    def apply(self, gradients: list[torch.Tensor]) -> None:
        self.count += 1
        first, second, decay = self.protocol.momentum, ADAM_SECOND_BETA, self.protocol.weight_decay
        every = zip(self.parameters, gradients, self.means, self.squares, self.least, strict=True)
        for parameter, gradient, mean, square, least in every:
            if self.protocol.optimizer == "adamw":
                parameter.mul_(1 - self.rate * decay)
            else:
                gradient = gradient + decay * parameter
            mean.mul_(first).add_(gradient, alpha=1 - first)
            square.mul_(second).add_(gradient.square(), alpha=1 - second)
            root = (square / (1 - second**self.count)).sqrt() + ADAM_EPSILON
            parameter.sub_(mean / (1 - first**self.count) / root, alpha=self.rate)
            least.copy_(torch.minimum(least, root))

    def scale(self, network: nn.Module) -> torch.Tensor:
        """Return what each weight that is compared counts with [n], trained or not, in the order of `weights`."""
        least = {id(parameter): root for parameter, root in zip(self.parameters, self.least, strict=True)}
        every = [least.get(id(parameter), torch.ones_like(parameter)) for parameter in network.parameters()]
        return sampled(every)


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
