"""A copy of the repository that runs in seconds, can be held at any stage, and is killed, starved or doubled there."""

import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
from support import SNAKEMAKE, with_small_calibrations

from epochbench.records.store import read_record

SHEET = "cell\tdevice\tbatch_size\tmemory_format\ncpu-reference\tcpu\t100\t\ncpu-tuned\tcpu\t100\tchannels_last\n"
CONFIG = {
    "cells": "config/two.tsv",
    "dataset": {"source": "synthetic", "synthetic": {"images_per_batch": 100}},
    "devices": {"gpu": "skip"},
    # Epochs of milliseconds beside other tests may fail a gate of the clock; that is not what is tested here.
    "on_gate_failure": "warn",
    "timing": {
        "runs": 4, "warmup_steps": 2, "min_epochs": 2, "max_epochs": 4, "min_steps": 0, "min_seconds": 0.5,
        "max_seconds": 1.0, "tries": 1, "quiet_seconds": 0, "more_runs_seconds": 0,
    },
}  # fmt: skip
COMMAND = [*SNAKEMAKE, "--cores", "2", "--configfile", "config/faults.yaml"]
# Only a hang is to be noticed: beside two other suites on two cores, a whole run took more than two minutes.
SECONDS_TO_REACH = 600
SECONDS_TO_END = 30
# Where one job alone was struck, Snakemake goes on with the others.
SECONDS_TO_GO_ON = 300

# Put at the end of a module: where a file of the stage's name waits in faults/, the next call waits there too.
HOLD = """

def _held(stage, function, wanted=lambda *_: True):
    import functools, pathlib, time
    asked = pathlib.Path("faults", stage)

    @functools.wraps(function)
    def held(*arguments, **options):
        if asked.exists() and wanted(*arguments):
            asked.rename(asked.with_suffix(".reached"))
            while not asked.with_suffix(".go").exists():
                time.sleep(0.02)
        return function(*arguments, **options)

    return held


{name} = _held({stage!r}, {name}{wanted})
"""
# Where each stage is held: its module, the function, and, where not every call is meant, which.
STAGES = {
    "acquire": ("acquire/synthetic", "_batch", ""),
    "shard": ("files", "write_bytes", ", lambda path, _: Path(path).name.startswith('test-')"),
    "warm-up": ("timing/step", "Step.take", ", lambda step, *_: step.steps_taken == 1"),
    "timed": ("timing/stopwatch", "time_epoch", ""),
    "evaluation": ("timing/evaluate", "evaluate", ""),
    "record": ("files", "Path.replace", ", lambda path, target: target.name.startswith('run-')"),
    "aggregate": ("files", "write_text", ", lambda path, _: Path(path).name == 'summary.csv'"),
    "report": ("files", "write_text", ", lambda path, _: Path(path).name == 'index.html'"),
}


def heed_interrupts() -> None:
    """Have SIGINT end this process: where the tests run in a shell's background it is ignored, also by all children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Started(subprocess.Popen):
    """A Snakemake in a session of its own, whose words can be read while it runs."""

    def __init__(self, command, folder, environment):
        descriptor, self.words = tempfile.mkstemp(dir=environment["TMPDIR"])
        with os.fdopen(descriptor, "w") as words:
            super().__init__(
                command, cwd=folder, env=environment, start_new_session=True, preexec_fn=heed_interrupts,
                stdout=words, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def said(self) -> str:
        return Path(self.words).read_text(errors="replace")

    def ended(self) -> tuple[int, str]:
        """Wait for the end, and return the status and all that was said."""
        return self.wait(SECONDS_TO_REACH), self.said()

    def wait_until(self, true) -> None:
        """Wait until something is true; it must become so while this runs, and soon."""
        until = time.monotonic() + SECONDS_TO_REACH
        while not true():
            assert time.monotonic() < until, f"not reached in time:\n{self.said()}"
            assert self.poll() is None, f"not reached before the end:\n{self.said()}"
            time.sleep(0.02)


class Site:
    """The copy, and what is done to it; its timing lock is its own unless another `lock` folder is given."""

    def __init__(self, folder: Path, lock: Path):
        self.folder, self.lock = with_small_calibrations(folder), lock
        lock.mkdir(exist_ok=True)
        (folder / "faults").mkdir()
        self.write(SHEET, CONFIG)

    def write(self, sheet: str, config: dict) -> None:
        (self.folder / "config" / "two.tsv").write_text(sheet)
        (self.folder / "config" / "faults.yaml").write_text(json.dumps(config))

    def can_be_held(self) -> "Site":
        """Put a place to wait into every stage."""
        for stage, (module, name, wanted) in STAGES.items():
            path = self.folder / "workflow" / "scripts" / "epochbench" / f"{module}.py"
            path.write_text(path.read_text() + HOLD.format(stage=stage, name=name, wanted=wanted))
        return self

    def start(self, *more: str) -> "Started":
        return Started([*COMMAND, *more], self.folder, os.environ | {"TMPDIR": str(self.lock)})

    def run(self, *more: str) -> tuple[int, str]:
        return self.start(*more).ended()

    def start_and_hold_at(self, stage: str) -> "Started":
        """Start Snakemake and return once it waits at a stage."""
        asked = self.folder / "faults" / stage
        for suffix in (".reached", ".go"):
            asked.with_suffix(suffix).unlink(missing_ok=True)
        asked.touch()
        process = self.start()
        process.wait_until(asked.with_suffix(".reached").exists)
        return process

    def go_on(self, stage: str) -> None:
        (self.folder / "faults" / f"{stage}.go").touch()

    def unlock(self) -> None:
        """Do what Snakemake's message asks for after it was killed, where it was."""
        if any(self.folder.glob(".snakemake/locks/*")):
            self.run("--unlock")

    def finished(self) -> dict[Path, bytes]:
        """Return every record by its path and content; each must be whole and valid."""
        paths = sorted(self.folder.glob("results/train/*/*/run-*.json"))
        for path in paths:
            read_record(path)
        return {path: path.read_bytes() for path in paths}

    def log(self, name: str) -> str:
        return (self.folder / "results" / "logs" / name).read_text()


def strike(process: Started, way: str, whom: str, let_go=lambda: None) -> None:
    """Send a signal to Snakemake, its innermost job, or all; nothing of it may live on for long.

    Snakemake ends on SIGTERM, and where SIGINT came at a moment when the job could not take it, once its running job
    has: `let_go` releases one that is held.
    """
    family = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    known = [psutil.Process(pid) for pid in family if psutil.pid_exists(pid)]
    for victim in {"all": family, "snakemake": family[:1], "job": family[-1:]}[whom]:
        try:
            os.kill(victim, signal.Signals[f"SIG{way}"])
        except ProcessLookupError:
            continue
    if way != "KILL":
        let_go()
    try:
        process.wait(SECONDS_TO_GO_ON)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise AssertionError(f"SIG{way} to {whom}: Snakemake did not end") from None
    _, alive = psutil.wait_procs(known, timeout=SECONDS_TO_END)
    assert not alive, f"orphans after SIG{way} to {whom}: {alive}"
