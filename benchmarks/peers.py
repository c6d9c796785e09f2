"""Would another framework train the same epoch faster here, and do our cells time it as a script of its own does?

The cells of config/frameworks.tsv whose framework and device are here, fresh processes in a shuffled order, on the same
full-size stand-in. Beside those that do what one of the plain scripts in peers/ does, that script runs too, in the
same interpreter: without our harness, gates or process.

Bars, and a non-zero end where one is missed: a cell within 3 % of its plain script, of which each round is one ratio,
and the interval is Student's on their logarithms; the losses of the first 50 fp32 steps within 1e-4 of each other's.
Beside them, who is faster: the best fp32 cell of torch or that of every other framework with the same allocator.

Usage: python benchmarks/peers.py [--rounds N] [--device cpu|gpu] [--images N] [CELL ...]
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ladder import PACKAGE, REPOSITORY, RUN, deviation, python

SHEET = REPOSITORY / "config" / "frameworks.tsv"
PLAIN = Path(__file__).parent / "peers"
# What the plain scripts do, beside the default of every other column.
SCRIPTED = {"jax": "jax_plain.py", "keras": "keras_plain.py"}
SETTINGS = ("fp32", "published", "channels_last", "compile", "system", None)
EPOCHS = 3
FOLDS = 5
BESIDE = 0.03
LOSSES = 1e-4
FASTER = 1.15

MAKE = """
import sys
import numpy as np
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.shard.write import shard_archive
from epochbench.timing.load import load_split
folder, images = sys.argv[1], int(sys.argv[2])
write_archive(folder + "/a.tar.gz", Synthetic(images_per_batch=images))
shard_archive(folder + "/a.tar.gz", {"name": "x", "synthetic": True, "layout": "cifar10"}, folder, 10000)
images, labels = load_split(folder + "/manifest.json", "train", "cpu")
np.save(folder + "/images.npy", (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy())
np.save(folder + "/labels.npy", labels.numpy())
"""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu", choices=("cpu", "gpu"))
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("cells", nargs="*")
    return parser.parse_args()


def here(cell) -> bool:
    """Tell whether a cell's framework and device are here."""
    from epochbench.timing.devices import lacking
    from epochbench.timing.frameworks import TORCH
    from epochbench.timing.frameworks.environments import interpreter_of

    return lacking(cell) is None and (cell.framework == TORCH or interpreter_of(cell.framework) is not None)


def is_scripted(cell) -> bool:
    """Tell whether a plain script does what a cell does."""
    settings = (cell.precision, cell.layers, cell.memory_format, cell.execution, cell.allocator, cell.threads)
    return cell.framework in SCRIPTED and settings == SETTINGS and cell.batch_size == 1000


def timed(cell, folder: str) -> dict:
    """Time a cell in a fresh process, and return its epochs and its first losses."""
    return json.loads(python(RUN, str(SHEET), cell.cell, folder))


def plain(cell, folder: str) -> dict:
    """Run a plain script's epochs in a fresh process of its framework, and return what it prints."""
    from epochbench.timing.frameworks.environments import interpreter_of

    hidden = {"CUDA_VISIBLE_DEVICES": ""} if cell.device == "cpu" else {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    command = [str(interpreter_of(cell.framework)), str(PLAIN / SCRIPTED[cell.framework]), folder, str(EPOCHS)]
    done = subprocess.run(command, env=os.environ | hidden, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    sys.path.insert(0, str(PACKAGE))
    from epochbench.sheets import read_cells

    asked = arguments()
    cells = [cell for cell in read_cells(SHEET) if cell.device == asked.device and here(cell)]
    cells = [cell for cell in cells if not asked.cells or cell.cell in asked.cells]
    unknown = sorted(set(asked.cells) - {cell.cell for cell in cells})
    if unknown or not cells:
        sys.exit(f"error: nothing here can time {', '.join(unknown) or 'any cell'} ({asked.device}, {SHEET.name})")
    runs: dict[str, list[dict]] = {cell.cell: [] for cell in cells}
    scripts: dict[str, list[dict]] = {cell.cell: [] for cell in cells if is_scripted(cell)}
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder, str(asked.images // FOLDS))
        for number in range(asked.rounds):
            turns = [(cell, take) for cell in cells for take in (timed, plain) if take is timed or is_scripted(cell)]
            for cell, take in random.Random(number).sample(turns, len(turns)):
                (runs if take is timed else scripts)[cell.cell].append(take(cell, folder))
    missed = report(cells, runs, scripts)
    sys.exit(f"bars missed: {', '.join(missed)}" if missed else 0)


def report(cells: list, runs: dict[str, list[dict]], scripts: dict[str, list[dict]]) -> list[str]:
    """Print a line a cell, one for each plain script, and who is faster in fp32. Return the bars that were missed."""
    medians = {name: statistics.median(map(_median, found)) for name, found in runs.items()}
    missed = []
    print(f"{'cell':<20} {'s/epoch':>9} {'losses off by':>14}")
    first = next((cell for cell in cells if cell.precision == "fp32"), cells[0])
    for cell in cells:
        off = deviation(runs[cell.cell][0]["losses"], runs[first.cell][0]["losses"])
        print(f"{cell.cell:<20} {medians[cell.cell]:>9.4f} {off:>14.1e}")
        missed += [f"the losses of {cell.cell}"] * (cell.precision == "fp32" and not off <= LOSSES)
    for name, found in scripts.items():
        off, told = _beside(found, runs[name])
        print(f"{name} takes {told} of its plain script's time (bar {BESIDE:.0%})")
        missed += [f"{name} beside its plain script"] * (abs(off) > BESIDE)
    _print_fastest(cells, medians)
    return missed


def _beside(scripts: list[dict], runs: list[dict]) -> tuple[float, str]:
    """Return by what part a cell takes longer than its plain script, and that in words."""
    from epochbench.stats import typical_epoch

    ratios = [_median(run) / _median(script) for run, script in zip(runs, scripts, strict=True)]
    found = typical_epoch([[ratio] for ratio in ratios])
    interval = f" ({found.low - 1:+.1%} to {found.high - 1:+.1%})" if found.low is not None else ""
    each = ", ".join(f"{ratio - 1:+.1%}" for ratio in ratios)
    return found.estimate - 1, f"{found.estimate - 1:+.1%}{interval}, by round {each},"


def _print_fastest(cells: list, medians: dict[str, float]) -> None:
    for allocator in ("system", "tuned"):
        best: dict[str, float] = {}
        for cell in cells:
            if (cell.precision, cell.allocator) == ("fp32", allocator):
                best[cell.framework] = min(best.get(cell.framework, medians[cell.cell]), medians[cell.cell])
        for framework in [name for name in best if name != "torch" and "torch" in best]:
            ratio = best[framework] / best["torch"]
            print(f"fp32, allocator {allocator}: torch's best is {ratio:.2f}x as fast as {framework}'s (bar {FASTER})")


def _median(run: dict) -> float:
    return statistics.median(run["seconds"])


if __name__ == "__main__":
    main()
