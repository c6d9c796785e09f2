"""The reference calibration of a machine, made once at the start of a pipeline run.

A run whose own calibration falls clearly below it was disturbed (quiet.py).
"""

import json
import time
from pathlib import Path
from typing import TextIO

import torch

from epochbench.errors import BenchmarkError
from epochbench.files import write_json
from epochbench.timing import provenance, quiet
from epochbench.timing.calibrate import matrix_flop_per_second
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device
from epochbench.timing.devices import open_device
from epochbench.timing.machine import host

# Spread over some seconds, so that a short disturbance does not hit all.
LOOKS = 5
PAUSE_SECONDS = 0.2


def write_reference(
    device: str,
    threads: int,
    path: str | Path,
    tries: int = 1,
    quiet_seconds: float = 0.0,
    console: TextIO | None = None,
) -> float | None:
    """Measure the best fp32 matrix product of a device ("cpu" or "gpu"), write it, and return it in FLOP/s.

    Each try waits for quiet, `quiet_seconds` at most in all. None where there is no such device: that is for its cells
    to tell, each by itself.
    """
    torch.set_num_threads(threads)
    try:
        best = _best(open_device(Cell("reference", device)), tries, quiet_seconds, console)
    except BenchmarkError as error:
        print(f"no reference: {error}")
        best = None
    facts = {"fingerprint": provenance.fingerprint(), "threads": threads, "matrix_flop_per_second": best}
    write_json(path, facts)
    return best


def _best(device: Device, tries: int, patience: float, console: TextIO | None) -> float:
    """Return the highest of several looks, and of more where others worked beside them; nothing raises a peak."""
    reached: list[float] = []

    def say(text: str) -> None:
        print(f"reference calibration: {text}", file=console)

    for _ in range(tries):
        patience -= quiet.wait_for_quiet(patience, say, device.gpu_state) if patience > 0 else 0.0
        before = host.activity()
        for _ in range(LOOKS):
            reached.append(matrix_flop_per_second(device, "fp32"))
            time.sleep(PAUSE_SECONDS)
        if not quiet.taken(host.activity() - before).problems():
            break
    return max(reached)


def read_reference(path: str | Path | None, threads: int) -> float | None:
    """Return a reference in FLOP/s, None where there is none of this machine and this many threads."""
    try:
        facts = json.loads(Path(path).read_text()) if path else {}
    except (OSError, ValueError):
        return None
    if (facts.get("fingerprint"), facts.get("threads")) != (provenance.fingerprint(), threads):
        return None
    return facts["matrix_flop_per_second"]
