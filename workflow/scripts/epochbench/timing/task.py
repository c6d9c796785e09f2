"""What one run needs to know, and what it measures."""

from dataclasses import dataclass

from epochbench.timing.cell import Cell
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Conditions, Evidence, Gpu, Limit, Peaks, Timing, Training


@dataclass(frozen=True)
class Task:
    """What one run needs to know: the cell, the number of the run, the path of the shards' manifest."""

    cell: Cell
    run: int
    protocol: Protocol
    manifest: str
    threads: int


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
