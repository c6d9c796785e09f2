"""Full and read-only disks, broken records, failing cells, strange paths, and two at once, in the real pipeline."""

import copy
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from faults.ground import CONFIG, SHEET, Site, Started
from support import deep

pytestmark = [pytest.mark.slow]
SHORT = copy.deepcopy(CONFIG)
SHORT["timing"] |= {"runs": 1, "max_epochs": 2, "min_seconds": 0.0}
ONE_CELL = "".join(SHEET.splitlines(keepends=True)[:2])
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@pytest.fixture
def site(clone, tmp_path):
    made = Site(clone, tmp_path / "lock")
    made.write(ONE_CELL, SHORT)
    return made


@pytest.fixture(scope="module")
def on_a_small_disk(tmp_path_factory, repository_copy):
    """A copy, which goes from stage to stage, with its results on a disk of their own, 60 MiB large."""
    folder = tmp_path_factory.mktemp("small")
    site = Site(repository_copy(folder / "clone"), folder / "lock").can_be_held()
    site.write(SHEET, SHORT)
    site.disk = site.folder / "results"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(site.disk)], check=True)
    yield site
    subprocess.run(["umount", "-l", str(site.disk)], check=True)


def remount(folder, options):
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def fill(folder):
    """Fill a disk to its last byte."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


@needs_root
@pytest.mark.xdist_group("small disk")
@pytest.mark.fault("disk and memory", "survived")
@pytest.mark.parametrize(
    "stage", deep(["acquire", "shard", "record", "aggregate", "report", "nowhere"], "shard", "record", "aggregate")
)
def test_a_disk_that_fills_up_is_said_and_the_next_run_goes_on(on_a_small_disk, stage):
    site, before = on_a_small_disk, on_a_small_disk.finished()
    if stage == "nowhere":
        status, said = site.run()
        assert status == 0, said
        assert len(site.finished()) == 2
    else:
        process = site.start_and_hold_at(stage)
        fill(site.disk)
        site.go_on(stage)
        status, said = process.ended()
        assert status != 0
        assert "No space left on device" in said
        assert "Traceback" not in said
        (site.disk / "filler").unlink()
    assert before.items() <= site.finished().items()


@needs_root
@pytest.mark.xdist_group("small disk")
@pytest.mark.fault("disk and memory", "refused")
@pytest.mark.parametrize("results", ["finished", "empty"])
def test_read_only_results_are_said_and_nothing_made_is_lost(on_a_small_disk, results):
    site = on_a_small_disk
    if results == "empty":
        shutil.rmtree(site.disk, ignore_errors=True)
    before = site.finished()
    site.write(SHEET + "cpu-further\tcpu\t50\t\n", SHORT)
    remount(site.disk, "ro")
    status, said = site.run()
    remount(site.disk, "rw")
    assert status != 0
    assert "Traceback" not in said
    assert "Write-protected output files" in said or "make results/ writable" in said
    assert before.items() <= site.finished().items()


@pytest.mark.deep
@pytest.mark.fault("disk and memory", "survived")
@pytest.mark.parametrize("home", ["/nonexistent", "/proc"])
def test_a_home_that_is_missing_or_read_only_does_not_matter(site, home):
    """Snakemake itself wants a cache there; `make` gives it another place."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    environment |= {"HOME": home, "PATH": path, "TMPDIR": str(site.lock)}
    process = Started(["make", "run", "VENV=", "ARGS=--configfile config/faults.yaml"], site.folder, environment)
    status, said = process.ended()
    assert status == 0, said
    assert len(site.finished()) == 1


@pytest.mark.fault("partial success", "survived")
def test_one_failing_cell_does_not_take_the_others(site):
    site.write(SHEET + "cpu-too-large\tcpu\t100000\t\n", SHORT)
    status, said = site.run()
    assert status != 0
    assert "failed: cpu-too-large run 1: cell 'cpu-too-large': batch_size 100000" in said
    assert len(site.finished()) == 2
    page = (site.folder / "results/report/index.html").read_text()
    assert "cpu-too-large, run 1" in page
    assert "cpu-tuned" in page


def nested(record):
    return "[" * 100_000


def enormous(record):
    return record | {"timing": record["timing"] | {"epoch_seconds": [1e300]}}


def newer(record):
    return record | {"schema_version": 99}


def another_run(record):
    return record | {"run": 7}


BROKEN = {
    "nan": (lambda record: '{"run": NaN}', "not readable as a record"),
    "cut": (lambda record: json.dumps(record)[:1000], "not readable as a record"),
    "binary": (lambda record: "\x00\x01", "not readable as a record"),
    "nested": (nested, "not readable as a record"),
    "100 MB": (lambda record: "[" + "1," * 50_000_000 + "1]", "larger than 4 MiB"),
    "enormous time": (enormous, "epoch_seconds"),
    "newer": (newer, "newer than this code"),
    "other run": (another_run, "checksum"),
}


@pytest.fixture(scope="module")
def finished_site(tmp_path_factory, repository_copy):
    folder = tmp_path_factory.mktemp("finished")
    made = Site(repository_copy(folder / "clone"), folder / "lock")
    made.write(SHEET, SHORT)
    assert made.run()[0] == 0
    return made


@pytest.mark.xdist_group("broken records")
@pytest.mark.fault("broken records", "refused")
@pytest.mark.parametrize("kind", deep([*BROKEN, "none"], "nan", "binary", "nested"))
def test_a_broken_record_is_told_by_name_and_the_rest_is_drawn(finished_site, kind):
    broken = finished_site.folder / "results/train/cpu/cpu-tuned/run-1.json"
    if kind == "none":
        status, said = finished_site.run()
        assert status == 0, said
        return
    right, (change, reason) = broken.read_text(), BROKEN[kind]
    changed = change(json.loads(right))
    broken.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    try:
        status, said = finished_site.run("--config", "on_gate_failure=fail")
        assert status != 0
        assert "Traceback" not in said
        assert reason in finished_site.log("report/gates.log")
        assert "cpu-reference" in (finished_site.folder / "results/report/index.html").read_text()
    finally:
        broken.write_text(right)


@pytest.mark.fault("two at once", "refused")
def test_a_second_snakemake_in_the_same_clone_is_refused_and_the_first_finishes(site):
    site.can_be_held()
    first = site.start_and_hold_at("shard")
    status, said = site.run()
    assert status != 0
    assert "lock" in said.lower()
    site.go_on("shard")
    status, said = first.ended()
    assert status == 0, said
    assert len(site.finished()) == 1


@pytest.mark.deep
@pytest.mark.fault("two at once", "survived")
def test_two_clones_on_one_machine_take_turns_and_say_so(site, tmp_path, repository_copy):
    other = Site(repository_copy(tmp_path / "other"), site.lock)
    other.write(ONE_CELL, SHORT)
    site.can_be_held()
    first = site.start_and_hold_at("evaluation")
    second = other.start()
    second.wait_until(lambda: "waiting for another job on this machine" in second.said())
    site.go_on("evaluation")
    assert (first.ended()[0], second.ended()[0]) == (0, 0)
    spans = sorted(span(path) for made in (site, other) for path in made.finished())
    assert len(spans) == 2
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def span(path):
    """Return when a record's epochs were timed, at the most: it is written right after them."""
    record = json.loads(path.read_text())
    end = path.stat().st_mtime
    return end - sum(record["timing"]["epoch_seconds"]) - record["timing"]["warmup_seconds"], end


@pytest.mark.fault("paths", "survived")
def test_a_clone_whose_path_is_strange_works(tmp_path, repository_copy):
    site = Site(repository_copy(tmp_path / "a b 'c' $d é; $(touch pwned) #"), tmp_path / "lock")
    site.write(ONE_CELL, SHORT)
    status, said = site.run()
    assert status == 0, said
    assert len(site.finished()) == 1
    assert not list(tmp_path.rglob("pwned"))
