"""What jobs ask of a cluster, by the functions of rules/cluster.smk, which import no Snakemake."""

from types import SimpleNamespace

import pytest
from support import REPOSITORY

from epochbench.timing.cell import Cell

SOURCE = (REPOSITORY / "workflow" / "rules" / "cluster.smk").read_text()


def functions(**cluster):
    """Return the functions as a job on a cluster calls them."""
    names = {
        "config": {"cluster": cluster},
        "CELLS": {"cpu-a": Cell("cpu-a", "cpu"), "gpu-a": Cell("gpu-a", "gpu")},
        "runs_here": lambda: False,
        "workflow": SimpleNamespace(cores=1, executor_plugin=SimpleNamespace(name="slurm")),
    }
    exec(SOURCE, names)
    return SimpleNamespace(**names)


@pytest.mark.parametrize(("cpu", "gpu"), [(64, 16), ("all", 16), (64, "all")])
def test_a_devices_calibration_asks_for_what_its_cells_get(cpu, gpu):
    ask = functions(cpu_cores=cpu, gpu_cores=gpu)
    for device in ("cpu", "gpu"):
        cell = SimpleNamespace(cell=f"{device}-a")
        threads, cpus = (getattr(ask, f"{device}_reference_{what}")(None) for what in ("threads", "cpus_per_task"))
        assert (threads, cpus) == (ask.timing_threads(cell), ask.timing_cpus_per_task(cell))
