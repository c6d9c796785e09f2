"""The same run over several processes, through torchrun: one a GPU, or one a share of the cores, which gloo joins."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from epochbench.documents import from_dict, to_dict
from epochbench.errors import BenchmarkError
from epochbench.timing.devices import open_device
from epochbench.timing.process import prepare
from epochbench.timing.task import Measurement, Task


def measure_in_team(task: Task) -> Measurement:
    """Measure one cell in `task.cell.processes` workers and return the first one's measurement.

    Raises BenchmarkError where a worker fails.
    """
    with tempfile.TemporaryDirectory(prefix="epochbench-") as folder:
        task_file, result_file = Path(folder, "task.json"), Path(folder, "result.json")
        task_file.write_text(json.dumps(to_dict(task)))
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        # As a module: a script's own folder would come first on the path, before the standard library's modules.
        worker = ["--module", "epochbench.timing.workers", str(task_file), str(result_file)]
        command = [*torchrun, f"--nproc-per-node={task.cell.processes}", *worker]
        packages = str(Path(__file__).parents[2])
        outcome = subprocess.run(command, env=os.environ | {"PYTHONPATH": packages}, check=False)
        if outcome.returncode or not result_file.exists():
            raise BenchmarkError(
                f"cell '{task.cell.cell}': a worker of {task.cell.processes} failed; its own message stands above"
            )
        return from_dict(Measurement, json.loads(result_file.read_text()))


def main(task_file: str, result_file: str) -> None:
    """Be one worker: torchrun starts this in every process."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    whole = from_dict(Task, json.loads(Path(task_file).read_text()))
    task = replace(whole, threads=whole.threads // size)
    _pin(rank, size)
    prepare(replace(task.cell, threads=task.threads, processes=1))
    # Only now: these import torch, whose thread pool is fixed by then.
    from epochbench.timing.measure import measure
    from epochbench.timing.team import Workers

    device = open_device(task.cell, rank)
    # Of the reference a worker can reach its share of the threads, where it has no device of its own.
    share = task.threads / whole.threads if device.shared_by_team else 1.0
    best = whole.reference_flop_per_second
    team = Workers(device.backend)
    measurement = measure(replace(task, reference_flop_per_second=best and best * share), team)
    if rank == 0:
        Path(result_file).write_text(json.dumps(to_dict(measurement)))
    team.distributed.destroy_process_group()


def _pin(rank: int, size: int) -> None:
    """Keep this worker on its own share of the cores, where the system can pin at all."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = len(cores) // size
        os.sched_setaffinity(0, cores[rank * share : (rank + 1) * share] or cores)


if __name__ == "__main__":
    main(*sys.argv[1:])
