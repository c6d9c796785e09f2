"""One run of one cell: its result is a record."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TextIO

from epochbench.shard.manifest import verify_shards
from epochbench.timing import provenance
from epochbench.timing.frameworks import TORCH
from epochbench.timing.frameworks.measure import measure as measure_apart
from epochbench.timing.load import dataset_of
from epochbench.timing.measure import measure
from epochbench.timing.process import seconds_since_start
from epochbench.timing.record import Record, seal
from epochbench.timing.task import Measurement, Task
from epochbench.timing.team import Solo
from epochbench.timing.workers import measure_in_team


def run_cell(task: Task, lock_wait_seconds: float = 0.0, console: TextIO | None = None) -> Record:
    """Train one cell in this process, or in as many as it asks for, and return the sealed record.

    Raises BenchmarkError where the cell cannot be run on this machine or on this data.
    """
    started_at = datetime.now(UTC).isoformat(timespec="seconds")
    verify_shards(task.manifest)
    # Before a network's file is run: who edits it meanwhile has not changed what was timed.
    code = provenance.code(task.cell.model)
    measurement = _measured(task, console)
    record = Record(
        cell=task.cell,
        run=task.run,
        started_at=started_at,
        wall_seconds=round(seconds_since_start(), 3),
        protocol=task.protocol,
        dataset=dataset_of(task.manifest),
        timing=measurement.timing,
        training=measurement.training,
        machine=provenance.describe_machine(measurement.gpu),
        conditions=replace(measurement.conditions, lock_wait_seconds=round(lock_wait_seconds, 3)),
        evidence=measurement.evidence,
        peaks=measurement.peaks,
        limit=measurement.limit,
        code=code,
        stack=measurement.stack,
        first_runs=task.first_runs,
        tries=measurement.tries,
        until_accuracy=measurement.until_accuracy,
        network=measurement.network,
    )
    return seal(record)


def _measured(task: Task, console: TextIO | None) -> Measurement:
    if task.cell.framework != TORCH:
        return measure_apart(task, console)
    return measure_in_team(task) if task.cell.processes > 1 else measure(task, Solo(), console)
