"""What jobs ask of a cluster, by the functions of rules/cluster.smk, which import no Snakemake."""

from types import SimpleNamespace

import pytest
from support import REPOSITORY

from epochbench.timing.cell import Cell

SOURCE = (REPOSITORY / "workflow" / "rules" / "cluster.smk").read_text()


SLURM = SimpleNamespace(name="slurm")


def functions(executor=SLURM, **cluster):
    """Return the functions as a job on a cluster calls them."""
    names = {
        "config": {"cluster": cluster},
        "CELLS": {"cpu-a": Cell("cpu-a", "cpu"), "gpu-a": Cell("gpu-a", "gpu")},
        "runs_here": lambda: False,
        "executor": lambda: executor,
        "workflow": SimpleNamespace(cores=1, is_main_process=False),
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


ASKED = ("gpus_of_cell", "gpu_model_of_cell", "gres_of_cell")
ASKED_FIRST = ("reference_gpus", "reference_gpu_model", "reference_gres")


@pytest.mark.parametrize(
    ("maker", "model", "cell", "first"),
    [
        ("nvidia", "", (2, None, None), (1, None, None)),
        ("nvidia", "h100", (2, "h100", None), (1, "h100", None)),
        ("amd", "", (None, None, "gpu:2"), (None, None, "gpu:1")),
        ("amd", "mi300x", (None, None, "gpu:mi300x:2"), (None, None, "gpu:mi300x:1")),
        ("intel", "max1550", (None, None, "gpu:max1550:2"), (None, None, "gpu:max1550:1")),
    ],
)
def test_slurm_is_asked_for_gpus_as_their_maker_needs_it(maker, model, cell, first):
    ask = functions(gpu_manufacturer=maker, gpu_model=model)
    ask.CELLS["gpu-a"] = Cell("gpu-a", "gpu", processes=2)
    wanted = SimpleNamespace(cell="gpu-a")
    assert tuple(getattr(ask, name)(wanted) for name in ASKED) == cell
    assert tuple(getattr(ask, name)(None) for name in ASKED_FIRST) == first
    ask.CELLS["gpu-a"] = Cell("gpu-a", "gpu", processes=2, gpu_model="other")
    assert "other" in str([getattr(ask, name)(wanted) for name in ASKED])


@pytest.mark.parametrize("plugin", [None, SimpleNamespace(name="local"), SimpleNamespace(name="cluster-generic")])
def test_elsewhere_gpus_are_only_counted(plugin):
    ask = functions(plugin, gpu_manufacturer="amd", gpu_model="mi300x")
    wanted = SimpleNamespace(cell="gpu-a")
    assert tuple(getattr(ask, name)(wanted) for name in ASKED) == (1, "mi300x", None)


def test_the_plugin_for_slurm_writes_the_words_as_they_are():
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    class Resources(dict):
        __getattr__ = dict.get

    def line(**resources):
        return set_gres_string(SimpleNamespace(resources=Resources(resources)))

    assert line(gpu=None, gpu_model=None, gres="gpu:mi300x:2") == " --gres=gpu:mi300x:2"
    assert line(gpu=2, gpu_model="h100", gres=None) == " --gpus=h100:2"
