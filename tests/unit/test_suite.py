"""What the tests themselves rely on."""

import os
import subprocess
import sys

import pytest
from support import REPOSITORY

CONFTEST = """
import runpy

pytest_collection_modifyitems = runpy.run_path({path!r})["pytest_collection_modifyitems"]
"""
GROUPED = """
import os
import pytest


@pytest.mark.parametrize("n", [pytest.param(n, marks=pytest.mark.xdist_group(f"group {n // 4}")) for n in range(8)])
def test_it(n):
    with open(f"{n // 4}.txt", "a") as workers:
        workers.write(os.environ["PYTEST_XDIST_WORKER"] + " ")
"""


def test_tests_of_a_group_stay_on_one_worker(tmp_path):
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    (tmp_path / "conftest.py").write_text(CONFTEST.format(path=str(REPOSITORY / "tests/conftest.py")))
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    paths = os.pathsep.join(str(REPOSITORY / folder) for folder in ("workflow/scripts", "tests"))
    ours = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-n", "2", "--dist=loadgroup", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(
        command, cwd=tmp_path, env=ours | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    workers = [(tmp_path / f"{group}.txt").read_text().split() for group in (0, 1)]
    assert [len(set(of_group)) for of_group in workers] == [1, 1]
    assert [len(of_group) for of_group in workers] == [4, 4]
