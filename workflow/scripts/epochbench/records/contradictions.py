"""In what records contradict themselves or each other, as those of a run never do.

Whoever edits a record can make a new checksum, but has to change everything that depends on the edit too.
"""

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from epochbench.columns import not_on_this_device
from epochbench.timing import frameworks
from epochbench.timing.record import Record
from epochbench.timing.stopping import enough

# Times are recorded in full, their sums rounded to a millisecond.
ROUNDING_SECONDS = 0.01
# Of the power limit. Counters are updated every 100 ms at worst, which a timing of a second hardly notices.
MAX_POWER_SHARE = 2


def contradictions(records: list[Record]) -> Iterator[str]:
    """Yield every contradiction in the records of one export, in words."""
    for (cell, run), count in Counter((record.cell.cell, record.run) for record in records).items():
        if count > 1:
            yield f"{cell} run {run} is there {count} times"
    yield from _in_their_work(records)
    copies = Counter(tuple(record.timing.epoch_seconds) for record in records)
    for record in records:
        who, times = f"{record.cell.cell} run {record.run}", tuple(record.timing.epoch_seconds)
        if len(times) > 1 and copies[times] > 1:
            yield f"{who}: another run has the very same times"
        for of in (_in_its_times, _in_its_epochs, _in_its_energy, _in_its_origin):
            yield from (f"{who}: {reason}" for reason in of(record))


def _in_their_work(records: list[Record]) -> Iterator[str]:
    """The FLOP of an epoch are those of the published network, whatever a cell makes of it."""
    counted: dict[tuple[str, str], Record] = {}
    for record in filter(lambda one: one.limit, records):
        first = counted.setdefault((record.cell.model, record.dataset.fingerprint), record)
        if not math.isclose(first.limit.flop_per_epoch, record.limit.flop_per_epoch, rel_tol=1e-6):
            flop = f"{record.limit.flop_per_epoch:.6g} FLOP, but {first.cell.cell} {first.limit.flop_per_epoch:.6g}"
            yield f"{record.cell.cell} run {record.run}: it says that an epoch has {flop}"


def _in_its_times(record: Record) -> Iterator[str]:
    timing, seconds = record.timing, sum(record.timing.epoch_seconds)
    if record.tries and record.tries[-1].epoch_seconds != timing.epoch_seconds:
        yield "its last try has other times than the run"
    rate = record.dataset.train_images * len(timing.epoch_seconds) / seconds
    # Processes round their shares of a batch.
    if record.cell.processes == 1 and not math.isclose(timing.images_per_second, rate, rel_tol=1e-6):
        yield f"it says {timing.images_per_second:.6g} images a second, but its times make {rate:.6g}"
    if timing.warmup_seconds + seconds > record.wall_seconds + ROUNDING_SECONDS:
        yield f"its steps take {timing.warmup_seconds + seconds:.6g} s, but the whole run {record.wall_seconds:.6g} s"
    if record.evidence.step_seconds > seconds + ROUNDING_SECONDS:
        yield f"its steps take {record.evidence.step_seconds:.6g} s of epochs that take {seconds:.6g} s"
    if started(record) is None:
        yield f"it began at '{record.started_at}', which is no time in UTC"


def _in_its_epochs(record: Record) -> Iterator[str]:
    """Epochs that were left out afterwards leave others than the protocol ends with."""
    times, training, protocol = record.timing.epoch_seconds, record.training, record.protocol
    if len(training.epoch_losses) != len(times):
        yield f"it has {len(training.epoch_losses)} losses of {len(times)} epochs"
    if len(training.warmup_losses) < protocol.warmup_steps:
        yield f"it has {len(training.warmup_losses)} losses of {protocol.warmup_steps} warm-up steps"
    steps = math.ceil(record.dataset.train_images / record.cell.batch_size)
    if training.steps_per_epoch != steps:
        yield f"it says {training.steps_per_epoch} steps an epoch, but its images and batches make {steps}"
    if not enough(protocol, times, steps):
        yield f"its protocol asks for more than its {len(times)} epochs"
    elif len(times) > 1 and enough(protocol, times[:-1], steps):
        yield f"its protocol ends before its {len(times)} epochs"


def _in_its_energy(record: Record) -> Iterator[str]:
    card, joules = record.conditions.gpu_before, record.conditions.gpu_energy_joules
    if card and card.power_limit_watts and joules:
        watts, limit = joules / record.evidence.outer_seconds, card.power_limit_watts * record.cell.processes
        if watts > MAX_POWER_SHARE * limit:
            yield f"its cards drew {watts:.6g} W, limited to {limit:.6g} W"


def _in_its_origin(record: Record) -> Iterator[str]:
    machine, device, events = record.machine, record.cell.device, record.timing.event_seconds
    if (device == "gpu") != (machine.gpu is not None) or (device == "cpu" and events is not None):
        yield f"it says it was timed on a {device.upper()}, but has what another device writes"
    yield from not_on_this_device(record.cell)
    facts = record.stack.facts if record.stack else {}
    # The stack of another framework is that of its own interpreter.
    own = record.cell.framework == frameworks.TORCH
    for name, version in (("torch", machine.torch), ("Python", machine.python)) if own else ():
        if facts.get(name, version) != version:
            yield f"it names {name} {version} and {name} {facts[name]}"


def started(record: Record) -> datetime | None:
    """Return when a run began; None where it names no time in UTC."""
    try:
        time = datetime.fromisoformat(record.started_at)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.utcoffset() == timedelta(0) else None
