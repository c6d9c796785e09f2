"""What does each rung of the CPU ladder bring, how far is the limit, and does it still train to the same losses?

The CPU cells of the default sheet, fresh processes, interleaved in a shuffled order, on a full-size stand-in. The first
50 steps are the warm-up; their losses are compared with the reference's. Ratios are of medians within this run.

Bars: the reference at least 3.3 times the best fp32 cell; that cell at most 3 times its arithmetic at the measured
peak (the highest of the run: a disturbed calibration only lowers it); its first 50 losses within 1e-4 of the
reference's.

Usage: python benchmarks/ladder.py [ROUNDS] [CELL ...]
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "workflow" / "scripts"
REFERENCE = "cpu-reference"

MAKE = """
import sys
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.shard.write import shard_archive
write_archive(sys.argv[1] + "/a.tar.gz", Synthetic())
shard_archive(sys.argv[1] + "/a.tar.gz", {"name": "x", "synthetic": True, "layout": "cifar10"}, sys.argv[1], 10000)
"""

RUN = """
import json, sys
from epochbench.sheets import read_cells
from epochbench.timing.process import prepare
from epochbench.timing.protocol import Protocol
cell = next(cell for cell in read_cells(sys.argv[1]) if cell.cell == sys.argv[2])
threads = prepare(cell)
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task
protocol = Protocol(warmup_steps=50, min_epochs=2, min_seconds=0.0, max_seconds=4.0)
record = run_cell(Task(cell, 1, protocol, sys.argv[3] + "/manifest.json", threads))
measured = {"seconds": record.timing.epoch_seconds, "losses": record.training.warmup_losses}
measured |= {"flop": record.limit.flop_per_epoch, "peak": record.peaks.matrix_flop_per_second["fp32"]}
print(json.dumps(measured))
"""


def python(code: str, *arguments: str) -> str:
    """Run code in a fresh process and return the last line that it prints."""
    paths = [str(PACKAGE), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return (done.stdout.splitlines() or [""])[-1]


def deviation(losses: list[float], reference: list[float]) -> float:
    """Return the largest relative difference of two lists of losses."""
    return max(abs(one - other) / other for one, other in zip(losses, reference, strict=True))


def main() -> None:
    sys.path.insert(0, str(PACKAGE))
    from epochbench.sheets import read_cells
    from epochbench.timing.devices import lacking

    sheet = REPOSITORY / "config" / "cells.tsv"
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    able = [cell.cell for cell in read_cells(sheet) if cell.device == "cpu" and lacking(cell) is None]
    names = sys.argv[2:] or able
    runs = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder)
        for number in range(rounds):
            for name in random.Random(number).sample(names, len(names)):
                runs[name].append(json.loads(python(RUN, str(sheet), name, folder)))
    medians = {
        name: statistics.median(s for run in measured for s in run["seconds"]) for name, measured in runs.items()
    }
    peak = max(run["peak"] for measured in runs.values() for run in measured)
    floor = runs[REFERENCE][0]["flop"] / peak
    print(f"measured fp32 peak {peak / 1e9:.0f} GFLOP/s; all arithmetic at it: {floor:.2f} s")
    print(f"{'cell':<20} {'s/epoch':>8} {'ratio':>6} {'x floor':>8} {'losses off by':>14}")
    for name in names:
        off = deviation(runs[name][0]["losses"], runs[REFERENCE][0]["losses"])
        ratio, above = medians[REFERENCE] / medians[name], medians[name] / floor
        print(f"{name:<20} {medians[name]:>8.2f} {ratio:>6.2f} {above:>8.2f} {off:>14.1e}")


if __name__ == "__main__":
    main()
