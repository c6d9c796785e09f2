"""The same run over several processes, through torchrun: one a GPU with NCCL, or one a share of the cores with gloo."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from epochbench.errors import BenchmarkError
from epochbench.process import prepare
from epochbench.record import from_dict


def measure_in_team(task):
    """Measure one cell in `task.cell.processes` workers and return the first one's Measurement."""
    from epochbench.train import Measurement, save_task

    with tempfile.TemporaryDirectory(prefix="epochbench-") as folder:
        task_file, result_file = Path(folder, "task.json"), Path(folder, "result.json")
        save_task(task_file, task)
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        # As a module: a script's own folder would come first on the path, and there lies our statistics.py.
        worker = ["--module", "epochbench.workers", str(task_file), str(result_file)]
        command = [*torchrun, f"--nproc-per-node={task.cell.processes}", *worker]
        packages = str(Path(__file__).parents[1])
        outcome = subprocess.run(command, env=os.environ | {"PYTHONPATH": packages}, check=False)
        if outcome.returncode or not result_file.exists():
            raise BenchmarkError(
                f"cell '{task.cell.cell}': a worker of {task.cell.processes} failed; its own message stands above"
            )
        return from_dict(Measurement, json.loads(result_file.read_text()))


class Team:
    """The workers of one run, as torch.distributed joins them."""

    def __init__(self, backend: str):
        import torch.distributed as distributed

        self.distributed = distributed
        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        distributed.init_process_group(backend)

    def wrap(self, network):
        """Return the network with its gradients averaged over the team after each backward pass."""
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(network)

    def barrier(self) -> None:
        """Wait until every worker is here."""
        self.distributed.barrier()

    def total(self, values: list[float]) -> list[float]:
        """Return the sum over the team of each value."""
        everyone = [None] * self.size
        self.distributed.all_gather_object(everyone, values)
        return [sum(column) for column in zip(*everyone, strict=True)]

    def decide(self, choice: bool) -> bool:
        """Return what the first worker decides, so that all stop together."""
        choices = [choice]
        self.distributed.broadcast_object_list(choices, src=0)
        return choices[0]


def _pin(rank: int, size: int) -> None:
    """Keep this worker on its own share of the cores, where the system can pin at all."""
    if hasattr(os, "sched_getaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        share = len(cores) // size
        os.sched_setaffinity(0, cores[rank * share : (rank + 1) * share] or cores)


def main(task_file: str, result_file: str) -> None:
    """Be one worker: torchrun starts this in every process."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    document = json.loads(Path(task_file).read_text())
    cell_threads = document["threads"] // size
    _pin(rank, size)
    from epochbench.record import Cell

    cell = from_dict(Cell, document["cell"])
    prepare(dataclasses.replace(cell, threads=cell_threads))
    from epochbench.device import open_device
    from epochbench.train import load_task, measure

    task = dataclasses.replace(load_task(task_file), threads=cell_threads)
    team = Team(open_device(cell, rank).backend)
    measurement = measure(task, team)
    if rank == 0:
        Path(result_file).write_text(json.dumps(dataclasses.asdict(measurement)))
    team.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
