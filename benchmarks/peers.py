"""Would another framework train the same epoch faster here, and do our cells time it as a script of its own does?

The cells of config/frameworks.tsv whose framework and device are here, fresh processes in a shuffled order, on the same
full-size stand-in. Beside those that do what one of the plain scripts in peers/ does, that script runs too, in the
same interpreter: without our harness, gates or process.

Bars: a cell within 3 % of its plain script, of which each round is one ratio, and the interval is Student's on their
logarithms; the best fp32 cell of torch at least 1.15 times as fast as the best of every other framework with the same
allocator, or this says who is faster; the losses of the first 50 steps within 1e-4.

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
    report(cells, runs, scripts)


def report(cells: list, runs: dict[str, list[dict]], scripts: dict[str, list[dict]]) -> None:
    """Print a line a cell, one for each plain script, and how torch's best cells stand to the others'."""
    medians = {name: statistics.median(map(_median, found)) for name, found in runs.items()}
    first = runs[cells[0].cell][0]["losses"]
    print(f"{'cell':<20} {'s/epoch':>9} {'losses off by':>14}")
    for cell in cells:
        print(f"{cell.cell:<20} {medians[cell.cell]:>9.4f} {deviation(runs[cell.cell][0]['losses'], first):>14.1e}")
    for name, found in scripts.items():
        print(_beside(name, found, runs[name]))
    for allocator in ("system", "tuned"):
        best: dict[str, float] = {}
        for cell in cells:
            if (cell.precision, cell.allocator) == ("fp32", allocator):
                best[cell.framework] = min(best.get(cell.framework, medians[cell.cell]), medians[cell.cell])
        for framework in [name for name in best if name != "torch" and "torch" in best]:
            ratio = best[framework] / best["torch"]
            print(f"fp32, allocator {allocator}: torch's best is {ratio:.2f}x as fast as {framework}'s (bar 1.15)")


def _beside(name: str, scripts: list[dict], runs: list[dict]) -> str:
    from epochbench.stats import typical_epoch

    ratios = [_median(run) / _median(script) for run, script in zip(runs, scripts, strict=True)]
    found = typical_epoch([[ratio] for ratio in ratios])
    interval = f" ({found.low - 1:+.1%} to {found.high - 1:+.1%})" if found.low is not None else ""
    each = ", ".join(f"{ratio - 1:+.1%}" for ratio in ratios)
    return f"{name} takes {found.estimate - 1:+.1%}{interval} of its plain script's time (bar 3 %); by round {each}"


def _median(run: dict) -> float:
    return statistics.median(run["seconds"])


if __name__ == "__main__":
    main()
