"""As on a system without /proc, affinity, glibc and NVML: `pytest --hide` runs every test so; here are some of them."""

import json
import os
import re
import subprocess
import sys

import pytest
import yaml
from support import REPOSITORY, SNAKEMAKE, with_small_calibrations

HIDDEN = "proc,affinity,mallopt,nvml"
# What asks the machine and the process.
ASKING = [f"tests/unit/test_{name}.py" for name in ("machine", "process", "quiet", "energy", "card", "folder")]
REASONS = {
    "this system does not pin processes to cores",
    "this system has no mallopt",
    "this system does not tell its processor's flags",
}
SHEET = "cell\tdevice\tbatch_size\tmemory_format\ncpu-reference\tcpu\t100\t\ncpu-b\tcpu\t100\tchannels_last\n"
PROBE = """
import ctypes, importlib.util, os, psutil
from epochbench.timing.machine import host
from epochbench.timing.process import keep_freed_memory
print([host.cpu_flags(), host.numa_nodes(), host.machine_identity(), list(host._cgroup_folders())])
print([host.activity().steal_seconds, host.governor()])
print(hasattr(os, "sched_getaffinity"), host.affinity() == os.cpu_count(), keep_freed_memory())
print(importlib.util.find_spec("pynvml"))
"""


def hidden(*names):
    """Return an environment in which these are hidden from every Python."""
    path = os.pathsep.join(str(REPOSITORY / folder) for folder in ("tests/hidden", "workflow/scripts"))
    return os.environ | {"EPOCHBENCH_HIDE": ",".join(names), "PYTHONPATH": path}


def test_what_is_hidden_is_not_there():
    def said(*names):
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=hidden(*names), capture_output=True, text=True, check=False
        )
        return done.stdout.splitlines(), done.stderr

    told, error = said(*HIDDEN.split(","))
    assert told == ["[frozenset(), None, '', []]", "[None, None]", "False True False"], error
    assert "No module named 'pynvml'" in error


@pytest.mark.deep
@pytest.mark.slow
def test_the_tests_that_ask_the_machine_pass_where_it_tells_little():
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [*command, "--hide", *ASKING], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert f"hidden: {HIDDEN}" in done.stdout
    skipped = re.findall(r"^SKIPPED \[\d+\] \S+ (.*)$", done.stdout, re.MULTILINE)
    assert set(skipped) >= REASONS


@pytest.mark.deep
@pytest.mark.slow
def test_a_whole_run_where_the_system_tells_little_says_what_is_unknown(clone):
    with_small_calibrations(clone)
    config = yaml.safe_load((REPOSITORY / ".test/config/config.yaml").read_text()) | {"cells": "sheet.tsv"}
    (clone / "mine.yaml").write_text(json.dumps(config))
    (clone / "sheet.tsv").write_text(SHEET)
    command = [*SNAKEMAKE, "--cores", "2", "--configfile", "mine.yaml"]
    environment = hidden(*HIDDEN.split(","))
    environment["PYTHONPATH"] = environment["PYTHONPATH"].partition(os.pathsep)[0]
    done = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads((clone / "results/train/cpu/cpu-b/run-1.json").read_text())
    machine, conditions = record["machine"], record["conditions"]
    assert [machine[name] for name in ("sockets", "numa_nodes", "governor")] == [None] * 3
    assert machine["cores_usable"] == os.cpu_count()
    assert conditions["steal_seconds"] is None
    told = {gate["gate"]: gate for gate in record["gates"]}
    assert {name for name, gate in told.items() if gate["passed"] is False} <= {"quiet"}
    assert "the hypervisor an unknown share" in told["quiet"]["sentence"]
    assert "unknown" in (clone / "results/report/index.html").read_text()  # the energy of an epoch
