"""Cells of other frameworks in the plan, and the set-up of their environments, on a framework that is pretended."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from test_setup import unconfigured, uv_wheel, wheel

FRAMEWORK = """
PACKAGES = {"pretended": "2.0"}
ENVIRONMENT = "pretending"
MODELS = ("lenet",)
CPU = {}
GPU = {}
"""
SHEET = "cell\tdevice\tbatch_size\tframework\ncpu-reference\tcpu\t100\t\ncpu-a\tcpu\t100\tpretended\n"
MORE = "cpu-b\tcpu\t50\tpretended\n"
ON_A_CLUSTER = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "false", "--jobs", "1")
INSTALLS = "make frameworks FRAMEWORKS=pretending installs it"
# Instead of a calibration and a training.
WRITES = 'open(snakemake.output[0], "w").write("{}")\n'


class Site:
    """A clone with a framework that is pretended, and a sheet with two cells of it."""

    def __init__(self, folder):
        self.folder, self.made = folder, folder / ".frameworks/pretending"
        self.config = {"cells": "sheet.tsv", "devices": {"gpu": "skip"}, "dataset": {"source": "synthetic"}}
        (folder / "workflow/scripts/epochbench/timing/frameworks/pretended.py").write_text(FRAMEWORK)
        (folder / "sheet.tsv").write_text(SHEET + MORE)
        self.pins = folder / "workflow/envs/frameworks/pretending.txt"
        self.pins.write_text("pretended==2.1\n")

    def install(self, version="2.1"):
        """Lay out the framework's environment as `make frameworks` leaves it."""
        shutil.rmtree(self.made, ignore_errors=True)
        (self.made / f"lib/python3.11/site-packages/pretended-{version}.dist-info").mkdir(parents=True)
        (self.made / "bin").mkdir()
        (self.made / "bin/python").symlink_to(sys.executable)
        (self.made / "pyvenv.cfg").write_text("version = 3.11.1\n")
        (self.made / "made-from.txt").write_text(self.pins.read_text())

    def snakemake(self, *arguments, status=0):
        (self.folder / "mine.yaml").write_text(json.dumps(self.config))
        command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", "--cores", "1", *arguments]
        # Of this machine's own environments the tests know nothing.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("EPOCHBENCH_FRAMEWORK")}
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, env=kept, timeout=600
        )
        assert status in (done.returncode, None), done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def planned(self, *arguments):
        """Return the cells that a dry run says it would time, and what it says of the others."""
        said = self.snakemake("-n", *arguments)
        cells = re.search(r"^Timing \d+ cells, \d+ runs each: (.*)\.$", said, re.MULTILINE)[1].split(", ")
        return cells, [line for line in said.splitlines() if "left out" in line and "devices." not in line]


@pytest.fixture
def site(clone):
    return Site(clone)


def test_cells_of_a_framework_that_is_not_installed_are_left_out_in_one_line(site):
    cells, notes = site.planned()
    assert cells == ["cpu-reference"]
    assert notes == [f"cpu-a, cpu-b were left out: framework pretended is not installed; {INSTALLS}."]


def test_where_nothing_is_left_the_reason_is_told(site):
    (site.folder / "sheet.tsv").write_text(SHEET.replace("cpu-reference\tcpu\t100\t\n", ""))
    site.config["statistics"] = {"baseline": "cpu-a"}
    said = site.snakemake("-n", status=1)
    assert "No cell is left to run: all that there are were left out." in said
    assert f"cpu-a was left out: framework pretended is not installed; {INSTALLS}." in said


def test_cells_of_a_framework_that_is_installed_are_timed(site):
    site.install()
    assert site.planned() == (["cpu-reference", "cpu-a", "cpu-b"], [])


@pytest.mark.fault("frameworks", "survived")
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda site: site.pins.write_text("pretended==2.2\n"), "was made from other pins than there are now; make"),
        (lambda site: (site.made / "bin/python").unlink(), "bin/python is gone; make frameworks FRAMEWORKS=pretending"),
        (lambda site: site.install("1.9"), f"is too old, it needs 2.0 or later; {INSTALLS}"),
        (
            lambda site: site.config.update(frameworks={"interpreters": {"pretending": "no/python"}}),
            "no/python, which frameworks.interpreters or EPOCHBENCH_FRAMEWORK_PRETENDING names; correct it, or",
        ),
    ],
    ids=["outdated", "gone", "too old", "named and not there"],
)
def test_what_will_not_do_is_left_out_and_the_others_are_timed(site, harm, said):
    site.install()
    harm(site)
    cells, (note,) = site.planned()
    assert cells == ["cpu-reference"]
    assert note.startswith("cpu-a, cpu-b were left out: ")
    assert said in note


def test_who_insists_gets_the_cells_planned_and_who_names_an_interpreter_that_one(site):
    site.config["frameworks"] = {"when_missing": "fail"}
    assert site.planned() == (["cpu-reference", "cpu-a", "cpu-b"], [])
    site.install()
    site.made.rename(site.folder / "mine")
    site.config["frameworks"] = {"interpreters": {"pretending": "mine/bin/python"}}
    assert site.planned() == (["cpu-reference", "cpu-a", "cpu-b"], [])


def test_jobs_of_a_cluster_see_the_same_folders_and_those_of_a_storage_none(site):
    site.install()
    site.config["cluster"] = {"cpu_cores": 1}
    assert site.planned(*ON_A_CLUSTER)[0] == ["cpu-reference", "cpu-a", "cpu-b"]
    pytest.importorskip("snakemake_storage_plugin_fs", reason="the fs storage plugin is not installed")
    storage = ("--default-storage-provider", "fs", "--default-storage-prefix", "stored", "--shared-fs-usage", "none")
    cells, (note,) = site.planned(*ON_A_CLUSTER, *storage)
    assert cells == ["cpu-reference"]
    assert "jobs share no file system with this machine" in note
    assert "frameworks.when_missing: fail insists" in note


def test_where_jobs_run_in_condas_environments_what_lies_beside_snakemake_is_no_help(site, monkeypatch):
    beside, programs = site.folder / "beside/pretended-2.1.dist-info", site.folder / "bin"
    beside.mkdir(parents=True)
    programs.mkdir()
    # As much of conda as a dry run asks for.
    (programs / "conda").write_text('#!/bin/sh\necho \'{"conda_version": "26.1.0", "conda_prefix": "/"}\'\n')
    (programs / "conda").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(beside.parent))
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    assert site.planned()[0] == ["cpu-reference", "cpu-a", "cpu-b"]
    said = site.snakemake("-n", "--software-deployment-method", "conda", status=None)
    assert f"cpu-a, cpu-b were left out: framework pretended is not installed; {INSTALLS}." in said


def test_another_version_makes_the_cells_of_that_framework_stale_and_no_other(site):
    for script in ("calibrate", "train"):
        (site.folder / f"workflow/scripts/{script}.py").write_text(WRITES)
    site.config["dataset"]["synthetic"] = {"images_per_batch": 100}
    site.config["timing"] = {"runs": 1}
    site.install()
    site.snakemake("--until", "train_cpu")
    assert "train: cpu-" not in site.snakemake("-n", "--until", "train_cpu")
    packages = site.made / "lib/python3.11/site-packages"
    (packages / "pretended-2.1.dist-info").rename(packages / "pretended-2.1.1.dist-info")
    said = site.snakemake("-n", "--until", "train_cpu")
    assert sorted(re.findall(r"train: (cpu-\w+), run 1", said)) == ["cpu-a", "cpu-b"]


@pytest.mark.fault("configs", "refused")
def test_a_wrong_name_is_told_with_those_that_there_are(site):
    site.config["frameworks"] = {"interpreters": {"pretended": "x"}}
    said = site.snakemake("-n", status=1)
    assert "frameworks.interpreters.pretended: no framework lives in an environment of that name; there are" in said
    assert "pretending (pretended)" in said
    site.config["frameworks"] = {"when_missing": "cry"}
    assert "frameworks.when_missing: 'cry' is not one of skip, fail" in site.snakemake("-n", status=1)


def make_frameworks(site, *names, **environment):
    return subprocess.run(
        ["sh", "workflow/frameworks.sh", ".frameworks", *names], cwd=site.folder, capture_output=True, text=True,
        env=unconfigured(PYTHON=sys.executable, CUDA="0", **environment), check=False, timeout=300,
    )  # fmt: skip


def test_an_environment_is_made_from_its_pins_once_and_anew_when_they_change(site):
    wheels, index = site.folder / "wheels", {}
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels)}
    (site.pins.with_suffix(".in")).write_text("pretended\n")
    brings = uv_wheel(wheels)
    site.pins.write_text(brings + wheel(wheels, "pretended", "2.1"))
    # By the framework's name or by its environment's.
    done = make_frameworks(site, "pretended", **index)
    assert done.returncode == 0, done.stdout + done.stderr
    assert site.planned() == (["cpu-reference", "cpu-a", "cpu-b"], [])
    assert list(site.made.glob("lib/python*/site-packages/__pycache__/pretended.*.pyc"))
    log = (site.made / "setup.log").stat().st_mtime_ns
    assert "pretending is there" in make_frameworks(site, "pretending", **index).stdout
    assert (site.made / "setup.log").stat().st_mtime_ns == log

    site.pins.write_text(brings + wheel(wheels, "pretended", "2.2") + wheel(wheels, "further"))
    assert "other pins" in site.planned()[1][0]
    assert make_frameworks(site, "pretending", **index).returncode == 0
    assert site.planned()[1] == []
    site.pins.write_text(brings + wheel(wheels, "pretended", "2.2"))
    assert make_frameworks(site, "pretending", **index).returncode == 0
    assert not list(site.made.glob("lib/python*/site-packages/further*"))


@pytest.mark.fault("frameworks", "refused")
def test_a_set_up_that_fails_leaves_nothing_that_looks_made(site):
    wheels = site.folder / "wheels"
    site.pins.with_suffix(".in").write_text("pretended\n")
    site.pins.write_text(uv_wheel(wheels) + wheel(wheels, "pretended", "2.1"))
    wheel(wheels, "pretended", "2.1", files={"pretended.py": "import os"})
    done = make_frameworks(site, "pretending", "nonsense", PIP_NO_INDEX="1", PIP_FIND_LINKS=str(wheels))
    assert done.returncode == 1
    assert "a file is not the one that" in done.stderr
    assert "frameworks: there are no pins of 'nonsense'; there are those of" in done.stderr
    assert "was broken off while it was made; make frameworks FRAMEWORKS=pretending goes on" in site.planned()[1][0]


@pytest.mark.fault("frameworks", "refused")
@pytest.mark.parametrize(
    ("prepare", "environment", "said"),
    [
        (lambda site: site.made.mkdir(parents=True), {}, "was not made by make frameworks, so it is left alone; move"),
        (
            lambda site: site.pins.with_suffix(".in").write_text("# python < 3.11\npretended\n"),
            {},
            "pretending has no wheels for this Python; name one before 3.11: make frameworks PYTHON=python3.10",
        ),
        (lambda site: None, {"CUDA": "1"}, "there are no pins of pretending with CUDA"),
    ],
    ids=["one's own", "Python too new", "no CUDA"],
)
def test_what_cannot_be_made_is_told_in_one_line(site, prepare, environment, said):
    site.pins.with_suffix(".in").write_text("pretended\n")
    prepare(site)
    command = ["sh", "workflow/frameworks.sh", ".frameworks", "pretended"]
    settings = unconfigured(**({"PYTHON": sys.executable, "CUDA": "0"} | environment))
    done = subprocess.run(command, cwd=site.folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert said in line
