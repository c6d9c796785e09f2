"""A fake accelerator of each kind through the whole quick run: the page says the right words, and every gate speaks."""

import json
import os
import re
import subprocess

import pytest
from fake_devices import fake_devices
from support import REPOSITORY, SNAKEMAKE, deep

from epochbench.sheets import read_cells

FAKES = REPOSITORY / "tests" / "fake_devices"
# What the machine beside the test does is no matter here.
TIMING = "timing={runs: 1, tries: 1, quiet_seconds: 0, max_epochs: 3}"
LEFT_OUT = {
    "rocm": "gpu-best was left out: AMD GPUs have no layers fused here",
    "mps": "gpu-best was left out: Apple GPUs have no execution epoch_graph here (torch has no graphs for Metal).",
    "xpu": "gpu-best was left out: Intel GPUs have no layers fused here",
}
TOLD = {
    "rocm": "The device's events, the wall clock and the sum of the epochs agree",
    "mps": "the device's own clock cannot be judged, since it has no events",
    "xpu": "The device's events, the wall clock and the sum of the epochs agree",
}
CARD = {
    "serial": "0x00000000000000AA", "clk": 2100, "max_clk": 2100, "throttle": 0, "cap": 750_000_000, "watts": 600,
    "temperature": 60, "busy": 99, "processes": [], "energy": [10**6, 10**7],
}  # fmt: skip


def environment(kind, folder):
    """Return the environment in which every Python sees one accelerator of a kind."""
    folder.mkdir(exist_ok=True)
    (folder / "card.json").write_text(json.dumps(CARD))
    cards = fake_devices.make_intel_card(folder)
    bare = {name: value for name, value in os.environ.items() if not name.endswith("_VISIBLE_DEVICES")}
    fakes = {"FAKE_DEVICE": kind, "FAKE_CARDS": str(cards), "FAKE_SCRIPT": json.dumps({"step_seconds": 0.001})}
    fakes |= {"FAKE_AMDSMI": str(folder / "card.json")} if kind == "rocm" else {}
    return bare | fakes | {"PYTHONPATH": str(FAKES), "PATH": f"{FAKES}:{os.environ['PATH']}"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", deep(("rocm", "mps", "xpu"), "mps", "xpu"))
def test_a_fake_device_of_each_kind_goes_through_the_whole_quick_run(kind, clone, tmp_path):
    quick = ["--cores", "all", "--configfile", "config/quick.yaml", "--config", TIMING]
    done = subprocess.run(
        [*SNAKEMAKE, *quick],
        cwd=clone, env=environment(kind, tmp_path), capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "Timing 3 cells, 1 runs each: cpu-reference, cpu-onednn, gpu-reference" in said
    assert LEFT_OUT[kind] in said
    page = (clone / "results/report/index.html").read_text()
    assert fake_devices.NAMES[kind] in page
    assert LEFT_OUT[kind].partition(" (")[0] in page
    assert "No GPU was" not in page
    assert (clone / "results/report/gates.txt").read_text() == "No hard gate failed.\n"
    record = json.loads((clone / "results/train/gpu/gpu-reference/run-1.json").read_text())
    told = {found["gate"]: (found["passed"], found["sentence"]) for found in record["gates"]}
    assert TOLD[kind] in told["synchronised"][1]
    assert (told["synchronised"][0] is None) == (kind == "mps")
    assert ("No accelerator tells why its clocks are held down." in told["quiet"][1]) == (kind != "rocm")
    assert (record["conditions"]["gpu_energy_joules"] is None) == (kind != "rocm")


PLANNED = {
    "rocm": {
        "gpu-reference", "gpu-bf16", "gpu-graph", "gpu-channels-last", "gpu-autotuned", "gpu-compiled",
        "gpu-space-to-depth",
    },
    "mps": {"gpu-reference", "gpu-bf16"},
    "xpu": {"gpu-reference", "gpu-bf16", "gpu-graph", "gpu-channels-last"},
}  # fmt: skip


@pytest.mark.parametrize("kind", PLANNED)
def test_the_plan_of_the_default_sheet_follows_the_device_without_torch(kind, clone, tmp_path):
    said = dry_run(clone, environment(kind, tmp_path) | {"FAKE_FORBIDS_TORCH": "1"})
    left_out = {cell for line in re.findall(r"(gpu-.*) w(?:as|ere) left out: ", said) for cell in line.split(", ")}
    cells = read_cells(clone / "config" / "cells.tsv")
    assert planned(said) == PLANNED[kind]
    assert planned(said) | left_out == {cell.cell for cell in cells if cell.device == "gpu"}


def test_a_cell_with_settings_that_the_device_lacks_is_planned_where_that_is_insisted_on(clone, tmp_path):
    said = dry_run(clone, environment("mps", tmp_path), "devices={settings: require}")
    assert re.search(r"gpu-\S+ w(as|ere) left out", said) is None
    assert planned(said) >= {"gpu-tf32", "gpu-best"}


def test_cells_of_other_frameworks_are_left_out_before_anybody_is_told_to_install_one(clone, tmp_path):
    said = dry_run(clone, environment("rocm", tmp_path), "cells=config/frameworks.tsv")
    told = re.search(r"^(.*) were left out: AMD GPUs are timed with torch alone", said, re.MULTILINE)[1].split(", ")
    cells = read_cells(clone / "config" / "frameworks.tsv")
    assert set(told) == {cell.cell for cell in cells if cell.device == "gpu" and cell.framework != "torch"}
    assert planned(said) == {"gpu-reference", "gpu-fp32", "gpu-space-to-depth"}


def dry_run(clone, environment, *config):
    command = [*SNAKEMAKE, "-n", *(["--config", *config] if config else [])]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def planned(said):
    """Return the GPU cells that a dry run says it would time."""
    return set(re.findall(r"gpu-[a-z0-9-]+", re.search(r"Timing [^:]*: (.*)", said)[1]))
