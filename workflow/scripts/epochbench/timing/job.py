"""One run in a process of its own: what comes before torch is imported, and what after."""

from typing import TextIO

from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Record


def run_job(
    cell: Cell,
    run: int,
    protocol: Protocol,
    manifest: str,
    reference: str | None = None,
    first_runs: int | None = None,
    lock_wait_seconds: float = 0.0,
    console: TextIO | None = None,
) -> Record:
    """Prepare this process for a cell, which must not have imported torch yet, train it, and return the record.

    `manifest` and `reference` are the paths of the shards' manifest and of the machine's reference calibration.

    Raises BenchmarkError where the cell cannot be run on this machine or on this data.
    """
    threads = prepare(cell)
    # Only now: these import torch, whose thread pool is fixed by then.
    from epochbench.timing.calibration_reference import read_reference
    from epochbench.timing.run import run_cell
    from epochbench.timing.task import Task

    task = Task(cell, run, protocol, manifest, threads, read_reference(reference, threads), first_runs)
    return run_cell(task, lock_wait_seconds, console)
