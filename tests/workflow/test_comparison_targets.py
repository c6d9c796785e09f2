"""The target compare in the real Snakemake and make, with records and exports made without training."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from unit.examples import record

from epochbench.records.exchange import write_export
from epochbench.records.store import write_record
from epochbench.timing.record import seal

# The unit tests tell the outcomes apart; here each one's way to its status is walked, the commonest ones always.
DEEP = pytest.mark.deep
PROGRAMS = Path(sys.executable).parent
CELLS = {"cpu-reference": 2.0, "cpu-tuned": 1.0, "cpu-best": 0.5}
SHEET = "cell\tdevice\n" + "".join(f"{cell}\tcpu\n" for cell in CELLS)
STEADY, SHAKEN = (1.0, 1.002, 0.998), (1.0, 1.2, 0.8)


def timed(shift=0.0, spread=STEADY, **factors):
    """Return three runs of each cell; a factor of a cell makes it slower, and 0 leaves it out."""
    factors = {f"cpu-{name}": factor for name, factor in factors.items()}
    return [
        record(cell, run, [seconds * factors.get(cell, 1.0) * (each + shift)] * 2)
        for cell, seconds in CELLS.items()
        if factors.get(cell) != 0
        for run, each in enumerate(spread, start=1)
    ]


def wrong(records):
    """Return the records, the first cell's with half of their parameters unmoved, as if the run had said so."""
    return [
        seal(replace(one, evidence=replace(one.evidence, parameters_moved=0.5)))
        if one.cell.cell == "cpu-reference" else one
        for one in records
    ]  # fmt: skip


@pytest.fixture
def site(clone):
    """A clone with a sheet of three cells and the records of one run of it."""
    (clone / "sheet.tsv").write_text(SHEET)
    return clone


def compare(site, base, now, command=None, **settings):
    """Put the records in their places, compare them with an export, and return the status, the words and the JSON."""
    (site / "mine.yaml").write_text(json.dumps({"cells": "sheet.tsv", "compare": settings}))
    write_export(base, site / "base.zip", "2026-01-01T00:00:00+00:00")
    for one in now:
        write_record(site / f"results/train/cpu/{one.cell.cell}/run-{one.run}.json", one)
    command = command or ["sh", "workflow/compare.sh", str(PROGRAMS), "base.zip", "--configfile", "mine.yaml"]
    done = subprocess.run(
        command, cwd=site, capture_output=True, text=True, check=False, timeout=600,
        env=os.environ | {"PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
    )  # fmt: skip
    told = site / "results/report/comparison.json"
    return done.returncode, done.stdout + done.stderr, json.loads(told.read_text()) if told.exists() else None


@pytest.mark.parametrize(
    ("base", "now", "settings", "status", "outcome"),
    [
        (timed(), timed(), {"when_unsure": "fail"}, 0, "same"),
        pytest.param(timed(), timed(shift=0.0005, tuned=0.5), {}, 0, "faster", marks=DEEP),
        (timed(), timed(shift=0.0005, tuned=1.5), {}, 3, "regression"),
        pytest.param(timed(), timed(best=0), {}, 4, "missing", marks=DEEP),
        pytest.param(timed(), wrong(timed()), {}, 5, "invalid", marks=DEEP),
        (timed(spread=SHAKEN), timed(shift=0.01, spread=SHAKEN), {"when_unsure": "fail"}, 6, "unsure"),
    ],
)
def test_each_outcome_has_its_status(site, base, now, settings, status, outcome):
    ended, said, told = compare(site, base, now, **settings)
    assert ended == status, said
    assert (told["outcome"], told["status"]) == (outcome, status)
    assert f"Outcome: {outcome}: " in said
    log = (site / "results/logs/report/compare.log").read_text()
    assert log.startswith(f"error: {outcome}: ") if status else log == ""


@DEEP
def test_too_much_noise_passes_unless_the_config_says_otherwise(site):
    ended, said, told = compare(site, timed(spread=SHAKEN), timed(shift=0.01, spread=SHAKEN))
    assert (ended, told["outcome"], told["status"]) == (0, "unsure", 0), said


def test_make_names_the_status_in_its_last_line(site):
    """GNU make itself ends with 2, whatever its command ended with."""
    command = ["make", "compare", "VENV=", "BASE=base.zip", "ARGS=--configfile mine.yaml"]
    ended, said, _ = compare(site, timed(), timed(shift=0.0005, tuned=1.5), command)
    assert ended == 2
    assert said.rstrip().endswith("Error 3")


def test_an_earlier_outcome_is_not_taken_for_that_of_a_comparison_that_failed(site):
    assert compare(site, timed(), timed())[0] == 0
    command = ["sh", "workflow/compare.sh", str(PROGRAMS), "broken.zip", "--configfile", "mine.yaml"]
    (site / "broken.zip").write_bytes(b"no export")
    ended, said, told = compare(site, timed(), timed(), command)
    assert (ended, told) == (1, None), said
    assert "not readable as an export" in said
