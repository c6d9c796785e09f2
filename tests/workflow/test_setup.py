"""The set-up behind `make run`: it fails with one clear line, and leaves nothing that looks ready."""

import os
import subprocess
import sys

from support import REPOSITORY


def setup(folder, requirements, python=sys.executable, **environment):
    return subprocess.run(
        ["sh", str(REPOSITORY / "workflow/setup.sh"), str(folder / "venv"), str(requirements)],
        env=os.environ | {"PYTHON": str(python)} | environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_an_old_python_is_refused_in_one_line(tmp_path):
    old = tmp_path / "python3.9"
    old.write_text('#!/bin/sh\ncase "$2" in *print*) echo 3.9 ;; *) exit 1 ;; esac\n')
    old.chmod(0o755)
    outcome = setup(tmp_path, REPOSITORY / "requirements.txt", python=old)
    assert outcome.returncode == 1
    (line,) = outcome.stderr.splitlines()
    assert "is Python 3.9; 3.11 or newer is needed" in line
    assert not (tmp_path / "venv").exists()


def test_a_missing_python_is_told_in_one_line(tmp_path):
    outcome = setup(tmp_path, REPOSITORY / "requirements.txt", python="no-such-python")
    (line,) = outcome.stderr.splitlines()
    assert "'no-such-python' is not there" in line


def test_an_unreachable_index_is_told_in_one_line(tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("six==1.16.0 --hash=sha256:" + "0" * 64 + "\n")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_TIMEOUT": "2"}
    outcome = setup(tmp_path, requirements, **nowhere, PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS="")
    assert outcome.returncode == 1
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith("setup: 0 packages")]
    assert len(lines) == 1, outcome.stderr
    assert "the package index cannot be reached" in lines[0]
    assert not (tmp_path / "venv" / ".ready").exists()


def test_make_lists_its_targets():
    said = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    for target in ("run", "test", "report", "lint", "format", "dry-run", "clean", "help"):
        assert any(line.startswith(target) for line in said.splitlines())
