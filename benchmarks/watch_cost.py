"""What does looking at the card from another process cost the epochs that run meanwhile?

One cell on a full-size stand-in, in one process: blocks of a second of timed epochs with the watch and without it take
turns in a shuffled order. The watch is started and stopped outside the clock, as in a run. A block is the median of its
epochs, a pair of blocks one ratio; the interval is Student's on their logarithms.

Bar: at most 0.5 % slower.

Usage: python benchmarks/watch_cost.py [CELL] [PAIRS], by default gpu-best and 20
"""

import contextlib
import random
import statistics
import sys
import tempfile
import time

from ladder import MAKE, PACKAGE, REPOSITORY, python

BLOCK_SECONDS = 1.0

sys.path.insert(0, str(PACKAGE))
from epochbench.sheets import read_cells  # noqa: E402 - the package is not installed
from epochbench.stats import typical_epoch  # noqa: E402
from epochbench.timing.process import prepare  # noqa: E402


def block_timer(cell, threads: int, folder: str):
    """Return a function that times a block of epochs, watched or not, and returns their median in seconds."""
    from epochbench.timing.devices import open_device
    from epochbench.timing.load import dataset_of, load_batches
    from epochbench.timing.network import build_network
    from epochbench.timing.protocol import Protocol
    from epochbench.timing.step import build_step
    from epochbench.timing.stopwatch import time_epoch
    from epochbench.timing.task import Task
    from epochbench.timing.team import Solo
    from epochbench.timing.warmup import warm_up

    task = Task(cell, 1, Protocol(), folder + "/manifest.json", threads)
    device = open_device(cell)
    batches, _ = load_batches(task, Solo(), device)
    dataset = dataset_of(task.manifest)
    network = build_network(cell.model, dataset, 0, cell.layers, cell.memory_format).to(device.torch_device)
    step = build_step(task, network, device)
    warm_up(task, step, network, batches, device)

    def block(watched: bool) -> float:
        seconds = []
        with device.watched() if watched else contextlib.nullcontext():
            until = time.monotonic() + BLOCK_SECONDS
            while time.monotonic() < until or not seconds:
                seconds.append(time_epoch(step, batches, device)[0].wall_seconds)
        return statistics.median(seconds)

    return block


def main(name: str, pairs: int) -> None:
    """Measure and print."""
    cell = next(cell for cell in read_cells(REPOSITORY / "config" / "cells.tsv") if cell.cell == name)
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder)
        block = block_timer(cell, prepare(cell), folder)
        ratios = []
        for _ in range(pairs):
            order = random.sample([True, False], 2)
            seconds = {watched: block(watched) for watched in order}
            ratios.append(seconds[True] / seconds[False])
    found = typical_epoch([[ratio] for ratio in ratios])
    middle, low, high = (value - 1 for value in (found.estimate, found.low, found.high))
    print(f"{name}, watched: {middle:+.2%} ({low:+.2%} to {high:+.2%}) of {pairs} pairs; bar +0.5 %")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0] if arguments else "gpu-best", int(arguments[1]) if len(arguments) > 1 else 20)
