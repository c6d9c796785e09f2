"""Records for tests, made without training."""

from dataclasses import replace

from epochbench.record import (
    Cell,
    Code,
    Conditions,
    Dataset,
    Gpu,
    Machine,
    Protocol,
    Record,
    Timing,
    Training,
)

H200 = Gpu("NVIDIA H200", 150_754_820_096, "580.1", "GPU-1")
BASE = Record(
    cell=Cell("cpu-reference", "cpu"),
    run=1,
    started_at="2026-01-01T00:00:00+00:00",
    wall_seconds=30.0,
    protocol=Protocol(),
    dataset=Dataset("CIFAR-10", False, "ab" * 32, 50_000, 10_000),
    timing=Timing([2.0, 2.2, 2.1], None, 3.0, 0.5, 0.4, 1.0, 24_000.0),
    training=Training(39_558, 50, [2.4, 2.3], [2.2, 2.1, 2.0], 0.3, 2**30),
    machine=Machine("0123456789abcdef", "node1", "Linux", "A CPU", 8, 2**34, None, "3.11", "2.15", None, None),
    conditions=Conditions(8, "system", 0.0, 0.1, 10, 1, 48.0, 0.1, 0.0),
    code=Code("feed", None),
)


def record(cell="cpu-reference", run=1, epochs=(2.0, 2.2, 2.1), **changes) -> Record:
    """Return a valid record; a cell named gpu-... ran on a GPU. Changes go into the record or its cell."""
    gpu = cell.startswith("gpu")
    cell_changes = {
        key: changes.pop(key) for key in list(changes) if key in Cell.__dataclass_fields__ and key != "cell"
    }
    made = replace(
        BASE,
        cell=Cell(cell, "gpu" if gpu else "cpu", **cell_changes),
        run=run,
        timing=replace(BASE.timing, epoch_seconds=list(epochs)),
        machine=replace(BASE.machine, gpu=H200 if gpu else None),
    )
    return replace(made, **changes)


def runs(cell="cpu-reference", medians=(2.0, 2.1, 2.2), **changes) -> list[Record]:
    """Return a record for each median epoch time."""
    return [record(cell, run, [m, m * 0.99, m * 1.01], **changes) for run, m in enumerate(medians, start=1)]
