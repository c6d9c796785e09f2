"""Other frameworks for real, from a row of the sheet to the page: in the environments that `make frameworks` made."""

import json
import os
import subprocess
import sys

import pytest
from support import REPOSITORY

from epochbench.sheets import read_cells
from epochbench.timing import frameworks
from epochbench.timing.frameworks import environments

SHEET = REPOSITORY / "config/frameworks.tsv"
CONFIG = {
    "cells": "sheet.tsv", "columns": {"batch_size": 100}, "devices": {"gpu": "skip", "cpu_bf16": "skip"},
    "dataset": {"source": "synthetic", "synthetic": {"images_per_batch": 100}}, "on_gate_failure": "warn",
    "timing": {"runs": 1, "warmup_steps": 2, "max_epochs": 2, "min_steps": 0, "min_seconds": 0, "tries": 1,
               "quiet_seconds": 0, "more_runs_seconds": 0},
}  # fmt: skip
OTHERS = [name for name in frameworks.names() if name != frameworks.TORCH]


def test_the_sheet_has_every_framework_on_both_devices_and_the_page_names_them_all():
    cells = read_cells(SHEET)
    assert {(cell.framework, cell.device) for cell in cells} == {
        (name, device) for name in frameworks.names() for device in ("cpu", "gpu")
    }
    text = (REPOSITORY / "docs/frameworks.md").read_text()
    for name in OTHERS:
        assert f"| `{name}` |" in text
        assert f"`{frameworks.environment(name)}`" in text
    assert "config/frameworks.tsv" in text


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("framework", frameworks.names())
def test_in_fp32_which_is_compared_first_a_framework_has_more_than_what_people_type(framework, device):
    """Or another's best would be held against its reference."""
    cells = [cell for cell in read_cells(SHEET) if (cell.framework, cell.device) == (framework, device)]
    layers = {cell.layers for cell in cells if cell.precision == "fp32"}
    assert "published" in layers
    assert len(layers) > 1


def test_the_reference_of_each_trains_in_its_own_interpreter_and_passes_every_hard_gate(clone):
    missing = {name: why for name in OTHERS if (why := environments.why_missing(name))}
    here = [name for name in OTHERS if name not in missing]
    if here:
        train_references(clone, here)
    for framework in here:
        record = json.loads((clone / f"results/train/cpu/cpu-{framework}/run-1.json").read_text())
        failed = {gate["gate"] for gate in record["gates"] if gate["passed"] is False and gate["severity"] == "hard"}
        assert failed == set(), record["gates"]
        assert "torch" not in record["stack"]["facts"]
        facts = {name.lower(): version for name, version in record["stack"]["facts"].items()}
        there = environments.installed(framework)
        for package in frameworks.packages(framework):
            assert facts[package] in there.values()
        assert f"cpu-{framework}" in (clone / "results/report/index.html").read_text()
    if missing:
        pytest.skip("; ".join(missing.values()))


def train_references(clone, names):
    """Run the pipeline on torch's reference and that of each of these."""
    header, *rows = SHEET.read_text().splitlines()
    wanted = ("cpu-reference", *(f"cpu-{name}" for name in names))
    (clone / "sheet.tsv").write_text("\n".join([header, *(row for row in rows if row.split("\t")[0] in wanted)]) + "\n")
    (clone / "mine.yaml").write_text(json.dumps(CONFIG))
    # A clone of this one, which has no environments itself.
    places = {str(environments.needed_interpreter(name).parents[2]) for name in names} - {sys.prefix}
    found = {"EPOCHBENCH_FRAMEWORKS": places.pop()} if places else {}
    command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "all"]
    done = subprocess.run(
        command, cwd=clone, env=os.environ | found, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
