"""Killed at any moment, in any way: nothing measured is lost, nothing false is left, and the next run finishes."""

import os
import random
import signal
import subprocess
import time

import psutil
import pytest
from support import SNAKEMAKE

from epochbench.record import read_record

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]
KILLS = int(os.environ.get("EPOCHBENCH_KILLS", "0"))
SHEET = "cell\tdevice\tbatch_size\tallocator\ncpu-reference\tcpu\t100\t\ncpu-tuned\tcpu\t100\ttuned\n"
CONFIG = """
cells: config/two.tsv
dataset: {source: synthetic, synthetic: {images_per_batch: 100}}
devices: {gpu: skip}
timing: {runs: 4, warmup_steps: 2, min_epochs: 2, max_epochs: 4, min_steps: 0, min_seconds: 0.5, max_seconds: 1.0}
"""
COMMAND = [*SNAKEMAKE, "--cores", "2", "--configfile", "config/faults.yaml"]


@pytest.fixture
def site(clone, tmp_path, monkeypatch):
    (clone / "config" / "two.tsv").write_text(SHEET)
    (clone / "config" / "faults.yaml").write_text(CONFIG)
    monkeypatch.chdir(clone)
    # A lock of its own: other tests that time must neither wait for this one nor be waited for.
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return clone


def start():
    return subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def run(*more):
    done = subprocess.run([*COMMAND, *more], capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def finished(site):
    """Return every record by its path and content; each must be whole and valid."""
    paths = sorted(site.glob("results/train/*/*/run-*.json"))
    for path in paths:
        read_record(path)
    return {path: path.read_bytes() for path in paths}


def strike(process, chance):
    """Kill Snakemake, its job, or both, in a way that chance decides."""
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    way, whom = chance.choice(["KILL", "TERM", "INT"]), chance.choice(["all", "snakemake", "job"])
    victims = {"all": family, "snakemake": family[:1], "job": family[-1:]}[whom]
    for victim in victims:
        try:
            os.kill(victim, signal.Signals[f"SIG{way}"])
        except ProcessLookupError:
            continue
    try:
        process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return f"{way} {whom}", family


@pytest.mark.skipif(KILLS == 0, reason="takes many minutes: set EPOCHBENCH_KILLS=50")
def test_random_kills_lose_no_record_and_leave_no_orphan(site):
    chance, measured, struck = random.Random(2021), {}, []
    for _ in range(KILLS):
        process = start()
        time.sleep(chance.uniform(0.5, 9.0))
        if process.poll() is None:
            way, family = strike(process, chance)
            struck.append(way)
            _, alive = psutil.wait_procs([psutil.Process(p) for p in family if psutil.pid_exists(p)], timeout=30)
            assert not alive, f"orphans after {way}: {alive}"
        else:
            process.communicate()
        now = finished(site)
        lost = [path for path in measured if now.get(path) != measured[path]]
        assert not lost, f"after {struck[-1:]}: {lost}"
        measured = now
        run("--unlock")
    status, output = run()
    assert status == 0, output
    assert len(finished(site)) == 8
    assert all(finished(site)[path] == content for path, content in measured.items())
    assert not list(site.glob("results/**/*.tmp"))


def test_one_failing_cell_does_not_take_the_others(site):
    sheet = SHEET + "cpu-too-large\tcpu\t100000\t\n"
    (site / "config" / "two.tsv").write_text(sheet)
    status, output = run()
    assert status != 0
    assert "failed: cpu-too-large run 1: cell 'cpu-too-large': batch_size 100000" in output
    assert len(finished(site)) == 8
    page = (site / "results/report/index.html").read_text()
    assert "cpu-too-large, run 1" in page
    assert "cpu-tuned" in page


def test_a_broken_record_is_left_out_by_name_and_the_rest_is_told(site):
    assert run()[0] == 0
    broken = site / "results/train/cpu/cpu-tuned/run-2.json"
    broken.write_text('{"run": NaN}')
    assert run()[0] != 0
    assert "run-2.json: not readable as a record" in (site / "results/logs/report/gates.log").read_text()
    assert "run-2.json" in (site / "results/report/index.html").read_text()
    broken.unlink()
    assert run()[0] == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_and_the_next_run_goes_on(site):
    results = site / "results"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(results)], check=True)
    try:
        status, output = run()
        assert status != 0
        assert "No space left on device" in output
        assert finished(site) == {}
        subprocess.run(["mount", "-o", "remount,size=500m", str(results)], check=True)
        run("--unlock")
        status, output = run()
        assert status == 0, output
    finally:
        subprocess.run(["umount", "-l", str(results)], check=True)


def test_a_missing_home_does_not_matter(site, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    status, output = run()
    assert status == 0, output


def test_a_second_snakemake_in_the_same_clone_is_refused_and_the_first_finishes(site):
    first = start()
    until = time.monotonic() + 60
    while not list(site.glob(".snakemake/locks/*")):
        assert time.monotonic() < until
        time.sleep(0.1)
    status, output = run()
    assert status != 0
    assert "lock" in output.lower()
    output, _ = first.communicate(timeout=300)
    assert first.returncode == 0, output
    assert len(finished(site)) == 8


def test_a_clone_whose_path_has_spaces_quotes_and_unicode_works(site, tmp_path, monkeypatch):
    strange = tmp_path / "a b 'c' $d é"
    site.rename(strange)
    monkeypatch.chdir(strange)
    status, output = run()
    assert status == 0, output
    assert len(finished(strange)) == 8
