"""The targets board and board-check in the real make and Snakemake, with exports made without training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unit.examples import measured

from epochbench.records.exchange import write_export

PROGRAMS = Path(sys.executable).parent


def make(clone, *words):
    done = subprocess.run(
        ["make", "VENV=", *words], cwd=clone, capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_the_board_is_drawn_and_the_check_fails_where_one_is_refused(clone):
    exports = clone / "board/exports"
    write_export(measured(), exports / "good.zip", "2026-01-03T00:00:00+00:00")
    status, said = make(clone, "board-check")
    assert status == 0, said
    assert "1 result in 1 table, from 1 export." in said

    (exports / "bad (1).zip").write_bytes(b"no export")
    status, said = make(clone, "board-check")
    assert status == 2, said
    assert "\nrefused: board/exports/bad (1).zip: not readable as an export (File is not a zip file)" in said
    assert "error: 1 of 2 exports were refused" in said
    assert not (clone / "results/report").exists()

    status, said = make(clone, "board", "EXPORTS=board/exports/g*.zip board/exports/bad*")
    assert status == 0, said
    assert "Page: results/report/board.html" in said
    page = (clone / "results/report/board.html").read_text()
    assert "one NVIDIA H200" in page
    assert "<strong>board/exports/bad (1).zip</strong>" in page
    # The code that is checked out is known; what the example names is not.
    assert "other code" in page


@pytest.mark.deep
def test_a_board_without_exports_is_an_error_and_a_check_of_an_empty_folder_is_none(clone):
    assert make(clone, "board-check")[0] == 0
    status, said = make(clone, "board")
    assert status == 2
    assert "board/exports: there is no export yet; make one with `make export`, and copy it there" in said
