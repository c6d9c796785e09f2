"""docs/your-own.md, as it is written: from an empty file to the answer, and to a sheet."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from support import REPOSITORY, needs_glibc

TEXT = (REPOSITORY / "docs/your-own.md").read_text()
# Less of the same, for a test.
QUICK = {"runs": 1, "warmup_steps": 1, "max_epochs": 2, "min_seconds": 0, "tries": 1, "quiet_seconds": 0}


@pytest.fixture
def typed(clone):
    """A function that types a line of the page in a clone, with this environment, and returns what was printed."""
    quick = yaml.safe_load((clone / "config/try.yaml").read_text())
    quick["timing"] |= QUICK
    quick["dataset"]["synthetic"]["images_per_batch"] = 200
    # Epochs of milliseconds beside other tests may fail a gate of the clock; that is not what is tested here.
    quick |= {"devices": {"cpu_bf16": "skip", "gpu": "skip"}, "on_gate_failure": "warn"}
    (clone / "config/try.yaml").write_text(json.dumps(quick))
    (clone / "bin").mkdir()
    (clone / "bin/snakemake").write_text(f'#!/bin/sh\nexec {sys.executable} -m snakemake "$@"\n')
    (clone / "bin/snakemake").chmod(0o755)

    def type_(line):
        command = line.replace("make ", "make VENV= ", 1)
        environment = os.environ | {"PATH": f"{clone / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(
            ["sh", "-c", command], cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    return type_


@needs_glibc  # of the cells, one is at its best with mallopt
def test_the_page_of_ones_own_network_is_true_from_the_empty_file_on(clone, typed):
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    python, sheet = re.findall(r"^```(?:python)?\n(# mine\..*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    assert len(python.splitlines()) <= 20
    (clone / "mine.py").write_text(python)
    try_, run = re.findall(r"^make .*$", TEXT, re.MULTILINE)
    said = typed(f"{try_} BATCH=200")
    page = re.search(r"\nPage: (\S+)\n", said)[1]
    assert page == "results/try/results/report/index.html"
    assert "mine.py:network" in (clone / page).read_text()
    answer = said[: said.index("\nPage: ")].strip().splitlines()[-2:]
    assert all(re.search(r"\d", line) for line in answer), said
    record = json.loads((clone / "results/try/results/train/cpu/cpu-tuned/run-1.json").read_text())
    assert (record["cell"]["model"], record["cell"]["batch_size"]) == ("mine.py:network", 200)
    assert record["network"]["source"].startswith("mine.py: SHA-256 ")
    passed = {gate["gate"]: gate["passed"] for gate in record["gates"]}
    assert passed["work done"] is passed["same arithmetic"] is True
    # Nothing of other runs is touched.
    assert {path.name for path in (clone / "results").iterdir()} == {"README.md", "try"}
    (clone / "mine.tsv").write_text(sheet)
    said = typed(run.removesuffix('"') + """ devices='{gpu: skip}' --dry-run\"""")
    assert "Timing 2 cells, 3 runs each: mine-cpu, mine-cpu-tuned." in said
