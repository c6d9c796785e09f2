"""What the tests on a real GPU share: when they run, the default sheet's cells, and short runs, judged."""

import pytest
import torch
from support import REPOSITORY

from epochbench.records import gates
from epochbench.sheets import read_cells
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Peaks
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task

ON_A_CARD = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here that torch can use"),
    pytest.mark.xdist_group("gpu"),
]
SHEET = [cell for cell in read_cells(REPOSITORY / "config" / "cells.tsv") if cell.device == "gpu"]
# Enough steps to learn on the small archive: 5 a warm-up and 30 epochs of 5.
LEARNING = Protocol(warmup_steps=5, min_epochs=30, max_epochs=30, min_steps=0, min_seconds=0.0, max_seconds=60.0)
SHORT = Protocol(warmup_steps=3, min_epochs=3, max_epochs=3, min_steps=0, min_seconds=0.0, max_seconds=60.0)
LIMITLESS = Peaks(dict.fromkeys(("fp32", "tf32", "bf16", "fp16"), 1e18), 1e18, 1e18)


def measured(cell, manifest, protocol=SHORT):
    return gates.judged(run_cell(Task(cell, 1, protocol, manifest, threads=1)))


def fired(record):
    """Return the hard gates that fired; the soft ones depend on the machine under the tests."""
    return {finding.gate for finding in record.gates if finding.passed is False and finding.severity == gates.HARD}
