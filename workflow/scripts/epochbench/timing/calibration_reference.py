"""The reference calibration of a machine, made once at the start of a pipeline run.

A run whose own calibration falls clearly below it was disturbed (quiet.py).
"""

import json
import time
from pathlib import Path
from statistics import median

import torch

from epochbench.errors import BenchmarkError
from epochbench.files import write_json
from epochbench.timing import provenance
from epochbench.timing.calibrate import matrix_flop_per_second
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device
from epochbench.timing.devices import open_device

# Spread over some seconds, so that a short disturbance does not hit all.
LOOKS = 5
PAUSE_SECONDS = 0.2


def write_reference(device: str, threads: int, path: str | Path) -> float | None:
    """Measure the usual fp32 matrix product of a device ("cpu" or "gpu"), write it, and return it in FLOP/s.

    None where there is no such device: that is for its cells to tell, each by itself.
    """
    torch.set_num_threads(threads)
    try:
        usual = _usual(open_device(Cell("reference", device)))
    except BenchmarkError as error:
        print(f"no reference: {error}")
        usual = None
    facts = {"fingerprint": provenance.fingerprint(), "threads": threads, "matrix_flop_per_second": usual}
    write_json(path, facts)
    return usual


def _usual(device: Device) -> float:
    """Return the median of several looks: the best of many is higher than a run, which looks once, can reach."""
    reached = []
    for _ in range(LOOKS):
        reached.append(matrix_flop_per_second(device, "fp32"))
        time.sleep(PAUSE_SECONDS)
    return median(reached)


def read_reference(path: str | Path | None, threads: int) -> float | None:
    """Return a reference in FLOP/s, None where there is none of this machine and this many threads."""
    try:
        facts = json.loads(Path(path).read_text()) if path else {}
    except (OSError, ValueError):
        return None
    if (facts.get("fingerprint"), facts.get("threads")) != (provenance.fingerprint(), threads):
        return None
    return facts["matrix_flop_per_second"]
