"""What one run needs to know, and what it measures."""

from dataclasses import dataclass

from epochbench.timing.cell import Cell
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import (
    Conditions,
    Evidence,
    Gpu,
    Limit,
    Network,
    Peaks,
    Stack,
    Timing,
    Training,
    Try,
    UntilAccuracy,
)


@dataclass(frozen=True)
class Task:
    """What one run needs to know: the cell, the number of the run, the path of the shards' manifest.

    `reference_flop_per_second` is what the machine's fp32 matrix product reached at the start of the pipeline run, None
    where that was another machine, or another number of threads; a worker has its share of it. `first_runs` is how many
    runs the first stage has.
    """

    cell: Cell
    run: int
    protocol: Protocol
    manifest: str
    threads: int
    reference_flop_per_second: float | None = None
    first_runs: int | None = None


@dataclass(frozen=True)
class Measurement:
    """What one run measured, before it is joined with where and when."""

    timing: Timing
    training: Training
    gpu: Gpu | None
    conditions: Conditions
    evidence: Evidence
    peaks: Peaks
    limit: Limit
    tries: list[Try]
    stack: Stack
    network: Network
    until_accuracy: UntilAccuracy | None = None
