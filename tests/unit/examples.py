"""Records for tests, made without training."""

import dataclasses
import math
import typing
from dataclasses import replace

from epochbench.timing.cell import COLUMNS, Cell, threads_of
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import (
    Code,
    Conditions,
    Dataset,
    Evidence,
    Gpu,
    Limit,
    Machine,
    Peaks,
    Record,
    Timing,
    Training,
    Try,
    seal,
)

H200 = Gpu("NVIDIA H200", 150_754_820_096, "580.1", "GPU-1")
BASE = Record(
    cell=Cell("cpu-reference", "cpu"),
    run=1,
    started_at="2026-01-01T00:00:00+00:00",
    wall_seconds=30.0,
    protocol=Protocol(),
    dataset=Dataset("CIFAR-10", False, "ab" * 32, 50_000, 10_000, [3, 32, 32], 10),
    timing=Timing([2.0, 2.2, 2.1], None, 3.0, 0.5, 0.4, 1.0, 24_000.0, 0.3, 0.9, 1.5),
    training=Training(39_558, 50, [2.4, 2.3], [2.2, 2.1, 2.0], 0.3, 2**30),
    machine=Machine(
        "0123456789abcdef", "node1", "Linux", "A CPU", 8, 2**34, 1, 8, 1, 1, None, None, "3.11", "2.15", None, None
    ),
    conditions=Conditions(8, "system", 0.0, 0.1, 10, 1, 48.0, 0.1, 0.0, None, None, {}, {}, None, None),
    evidence=Evidence(
        counted_steps=150,
        counted_images=150_000,
        parameters_moved=1.0,
        test_loss=2.0,
        checked_steps=2,
        loss_deviation=1e-7,
        update_deviation=1e-5,
        tf32_allowed=None,
        outer_seconds=6.31,
        step_seconds=6.3,
        subnormal_share=0.0,
        between_seconds=0.01,
    ),
    peaks=Peaks({"fp32": 1e12, "tf32": 1e12, "bf16": 1e12, "fp16": 1e12}, 1e11, 1e6),
    limit=Limit(294.6e9, 4e10, 6e8, 32, 0.5, 0.2946, "arithmetic"),
    code=Code("feed", None),
)


def record(cell="cpu-reference", run=1, epochs=(2.0, 2.2, 2.1), **changes) -> Record:
    """Return a valid record; a cell named gpu-... ran on a GPU. Changes go into the record or its cell."""
    gpu = cell.startswith("gpu")
    cell_changes = {key: changes.pop(key) for key in list(changes) if key in Cell.__dataclass_fields__}
    made = Cell(cell, "gpu" if gpu else "cpu", **cell_changes)
    dataset = changes.get("dataset", BASE.dataset)
    steps = math.ceil(dataset.train_images / made.batch_size)
    epochs = list(epochs)
    evidence = replace(
        BASE.evidence,
        counted_steps=steps * len(epochs),
        counted_images=dataset.train_images * len(epochs),
        tf32_allowed=made.precision == "tf32" if gpu else None,
        outer_seconds=sum(epochs) * 1.002,
        between_seconds=sum(epochs) * 0.001,
        step_seconds=sum(epochs),
    )
    limit = replace(BASE.limit, flop_per_epoch=294.6e9 * epochs[0] / 2)
    threads = _threads(made)
    record = replace(
        BASE,
        cell=made,
        run=run,
        timing=replace(BASE.timing, epoch_seconds=epochs, event_seconds=epochs if gpu else None),
        training=replace(BASE.training, steps_per_epoch=steps),
        machine=replace(BASE.machine, gpu=H200 if gpu else None),
        conditions=replace(BASE.conditions, threads=threads, own_cpu_seconds=0.95 * threads * sum(epochs)),
        evidence=evidence,
        limit=limit,
    )
    return seal(replace(record, **changes))


def _threads(cell: Cell) -> int:
    """Return how many threads a run of a cell had; all of them where a word of a later day asks for some."""
    unknown = isinstance(cell.threads, str) and cell.threads not in COLUMNS["threads"].allowed()
    return threads_of(None if unknown else cell.threads, BASE.machine.cores_usable)


def runs(cell="cpu-reference", medians=(2.0, 2.1, 2.2), **changes) -> list[Record]:
    """Return a record for each median epoch time."""
    return [record(cell, run, [m, m * 0.99, m * 1.01], **changes) for run, m in enumerate(medians, start=1)]


def assert_described(kind, schema, part=None):
    """Compare a dataclass, and those within it, with a schema: the same keys, each described, null for None."""
    part = _resolved(schema, part or schema)
    names = {field.name for field in dataclasses.fields(kind)}
    assert set(part["properties"]) == set(part["required"]) == names, kind
    assert part["additionalProperties"] is False
    for name, hint in typing.get_type_hints(kind).items():
        rule = part["properties"][name]
        assert rule.get("description"), f"{kind.__name__}.{name}"
        rule = _resolved(schema, rule)
        assert (type(None) in typing.get_args(hint)) == _allows_null(rule), f"{kind.__name__}.{name}"
        for inner in filter(dataclasses.is_dataclass, (hint, *typing.get_args(hint))):
            assert_described(inner, schema, rule.get("items", rule))


def _resolved(schema, part):
    return schema["$defs"][part["$ref"].rpartition("/")[2]] if "$ref" in part else part


def _allows_null(rule):
    return "null" in rule.get("type", ()) or None in rule.get("enum", ())


def tried(run, seconds, *reasons, reached=193e9) -> Record:
    """Return a run of the reference whose only try was disturbed for these reasons, or for none."""
    only = Try([seconds], 0.0, 0.0, 0.0, reached, list(reasons))
    return seal(replace(record("cpu-reference", run, [seconds] * 3), tries=[only]))


def honest(records, started="2026-01-02", **machine) -> list[Record]:
    """Return records that agree with themselves, as those of real runs do, on a machine of one's own."""
    made = []
    for one in records:
        epochs, seconds = len(one.timing.epoch_seconds), sum(one.timing.epoch_seconds)
        timing = replace(one.timing, images_per_second=one.dataset.train_images * epochs / seconds)
        warmup_steps = len(one.training.warmup_losses)
        protocol = replace(one.protocol, warmup_steps=warmup_steps, min_epochs=epochs, max_epochs=epochs)
        place, day = replace(one.machine, **machine), f"{started}T00:00:{one.run:02}+00:00"
        changes = {"timing": timing, "protocol": protocol, "machine": place, "started_at": day}
        made.append(seal(replace(one, **changes, **_same_work(one))))
    return made


def _same_work(one: Record) -> dict[str, Limit | Peaks]:
    """Return the FLOP that every cell of a network has, and peaks that leave its epoch as much room as it had."""
    factor = BASE.limit.flop_per_epoch / one.limit.flop_per_epoch
    products = {name: value * factor for name, value in one.peaks.matrix_flop_per_second.items()}
    limit = replace(one.limit, flop_per_epoch=BASE.limit.flop_per_epoch)
    return {"limit": limit, "peaks": replace(one.peaks, matrix_flop_per_second=products)}


def measured(factor=1.0, gpu="NVIDIA H200", started="2026-01-02", node="node1", **changes) -> list[Record]:
    """Return the runs of a CPU and a GPU that may be exported: 4x on the CPU, 168x on the GPU."""
    cpu = runs("cpu-reference", [factor * each for each in (2.0, 2.1, 2.2)], **changes)
    cpu += runs("cpu-best", [factor * each for each in (0.5, 0.51, 0.52)], allocator="tuned", **changes)
    card = runs("gpu-best", [factor * each for each in (0.0124, 0.0125, 0.0126)], precision="bf16", **changes)
    return honest(cpu, started, node=node) + honest(card, started, node=node, gpu=replace(H200, name=gpu))
