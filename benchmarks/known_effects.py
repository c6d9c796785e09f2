"""Would a difference be seen, and is none invented? One cell against itself, with known delays, on this machine.

Fresh processes of the same cell, interleaved in a shuffled order, some with a delay of 1, 2, 5 or 10 % added to each
epoch inside the clock. Every choice of 3 undelayed runs is compared with every disjoint choice of 3 others (A/A),
and with every choice of 3 delayed runs. In between, an outside observer times the same training function with
perf_counter in a plain script of its own.

Bars: on a quiet machine A/A claims a difference in at most 5 % of the pairs; the observer's median epoch is within 2 %
of ours; gates, provenance and sampling cost under 2 % of the timed epochs, and under 3 s a run beside them. Ends with
an error where one is missed.

Usage: python benchmarks/known_effects.py [ROUNDS]
"""

import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts"
DELAYS = (0.0, 0.0, 0.01, 0.02, 0.05, 0.10)
ROUNDS = 4
GROUP = 3

PREPARE = """
import json, sys, time
from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare
from epochbench.timing.protocol import Protocol
cell = Cell("a", "cpu", allocator="tuned", memory_format="channels_last")
threads = prepare(cell)
from epochbench.timing.task import Task
task = Task(cell, 1, Protocol(min_epochs=5, max_epochs=5), sys.argv[1], threads)
"""

OURS = (
    PREPARE
    + """
from epochbench.records.gates import judged
from epochbench.timing import evidence, stopwatch
from epochbench.timing.run import run_cell
honest, delay = stopwatch.time_epoch, float(sys.argv[2])
seconds = {"deviations": 0.0}

def delayed(step, batches, device):
    take = step.take
    def slow(images, labels):
        started = time.perf_counter()
        loss = take(images, labels)
        until = time.perf_counter() + delay * (time.perf_counter() - started)
        while time.perf_counter() < until:
            pass
        return loss
    step.take = slow
    try:
        return honest(step, batches, device)
    finally:
        del step.take

def clocked(module, name):
    call = getattr(module, name)
    def wrapped(*arguments):
        started = time.perf_counter()
        result = call(*arguments)
        seconds[name] += time.perf_counter() - started
        return result
    setattr(module, name, wrapped)

stopwatch.time_epoch = delayed
clocked(evidence, "deviations")
record = judged(run_cell(task))
inside = record.evidence.outer_seconds - sum(record.timing.epoch_seconds)
wrong = [gate.gate for gate in record.gates if gate.passed is False]
print(json.dumps([record.timing.epoch_seconds, inside, sum(seconds.values()), wrong]))
"""
)

OBSERVER = (
    PREPARE
    + """
from epochbench.timing.devices import open_device
from epochbench.timing.load import dataset_of, load_batches
from epochbench.timing.network import build_network
from epochbench.timing.step import build_step
from epochbench.timing.team import Solo
import torch
torch.set_num_threads(threads)
device = open_device(cell)
batches, _ = load_batches(task, Solo(), device)
network = build_network("lenet", dataset_of(task.manifest), task.protocol.seed, cell.layers, cell.memory_format)
step = build_step(task, network, device)
for images, labels in (batches * 10)[:10]:
    step(images, labels)
epochs = []
for _ in range(5):
    started = time.perf_counter()
    for images, labels in batches:
        step(images, labels)
    epochs.append(time.perf_counter() - started)
print(json.dumps([epochs, 0.0, 0.0, []]))
"""
)

MAKE = """
import sys
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.shard.write import shard_archive
write_archive(sys.argv[1] + "/a.tar.gz", Synthetic(1000))
shard_archive(sys.argv[1] + "/a.tar.gz", {"name": "x", "synthetic": True, "layout": "cifar10"}, sys.argv[1], 1000)
"""


def python(code: str, *arguments) -> str:
    """Run code in a fresh process and return the last line that it prints."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return (output.splitlines() or [""])[-1]


def compare(slow: list, fast: list, disjoint: bool) -> tuple[float, float]:
    """Return how often a difference is claimed between choices of runs, and the median of the estimates."""
    from epochbench.stats import speedup, verdict

    verdicts, estimates = [], []
    for left, right in itertools.product(*(itertools.combinations(range(len(side)), GROUP) for side in (slow, fast))):
        if disjoint and set(left) & set(right):
            continue
        ratio = speedup([slow[index] for index in left], [fast[index] for index in right])
        verdicts.append(verdict(ratio) in ("FASTER", "SLOWER"))
        estimates.append(ratio.estimate)
    return sum(verdicts) / len(verdicts), statistics.median(estimates)


def main() -> None:
    sys.path.insert(0, str(PACKAGE))
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    runs = {delay: [] for delay in DELAYS} | {"observer": []}
    inside, beside, fired = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder)
        for number in range(rounds):
            order = [*DELAYS, "observer", "observer"]
            random.Random(number).shuffle(order)
            for kind in order:
                code = OBSERVER if kind == "observer" else OURS
                epochs, loop, gates, wrong = json.loads(python(code, f"{folder}/manifest.json", kind))
                runs[kind].append(epochs)
                if kind == 0.0:
                    inside.append(loop / sum(epochs))
                    beside.append(gates)
                    fired += wrong
    print(f"{'added':>6} {'claimed':>8} {'estimate':>9}   ({rounds} rounds)")
    missed = []
    for delay in sorted(set(DELAYS)):
        share, estimate = compare(runs[delay], runs[0.0], disjoint=delay == 0.0)
        print(f"{delay:>6.0%} {share:>8.0%} {estimate - 1:>+9.1%}")
        missed += ["a difference claimed of equal runs"] if delay == 0.0 and share > 0.05 else []
    ours, observed = (statistics.median(itertools.chain(*runs[kind])) for kind in (0.0, "observer"))
    print(f"our median epoch / the observer's: {ours / observed:.3f} (bar: within 2 %)")
    missed += ["the observer's epoch"] if abs(ours / observed - 1) > 0.02 else []
    missed += ["the time between epochs"] if statistics.median(inside) >= 0.02 else []
    missed += ["the gates' time"] if statistics.median(beside) >= 3.0 else []
    print(f"between the timed epochs: {statistics.median(inside):.2%} of them (bar: under 2 %)")
    print(f"gates beside them: {statistics.median(beside):.2f} s a run (bar: under 3 s)")
    print(f"gates that failed without sabotage, of {len(beside)} runs: {', '.join(fired) or 'none'}")
    sys.exit(f"bars missed: {', '.join(missed)}" if missed else 0)


if __name__ == "__main__":
    main()
