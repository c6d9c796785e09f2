"""Hardware that fails, simulated at the device object; memory that runs out, really; and clocks that are set."""

import dataclasses
import subprocess
import sys
import textwrap
import time

import pytest
import torch
from support import REPOSITORY

from epochbench.errors import BenchmarkError
from epochbench.records.gates import judged
from epochbench.records.store import read_record, write_record
from epochbench.timing import measure
from epochbench.timing.cell import Cell
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.protocol import Protocol
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)
LOST = "CUDA error: device-side assert triggered\nCUDA kernel errors might be reported later"


def task(manifest, **cell):
    return Task(Cell(**({"cell": "a", "device": "cpu", "batch_size": 100} | cell)), 1, SHORT, manifest, threads=1)


class FailingDevice(CpuDevice):
    """A device that works until its stopwatch has been started so many times."""

    def __init__(self, starts: int, failure: Exception):
        super().__init__()
        self.left, self.failure = starts, failure

    def start(self):
        """Start the stopwatch, or fail."""
        self.left -= 1
        if self.left < 0:
            raise self.failure
        super().start()


@pytest.mark.fault("hardware", "refused")
# The stopwatch is started for loading, for two warm-up steps, for what an epoch needs, and for two epochs.
@pytest.mark.parametrize("starts", [0, 1, 4, 5], ids=["loading", "warm-up", "first epoch", "second epoch"])
@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (torch.AcceleratorError(LOST), r"cell 'a': the GPU failed .*device-side assert triggered\).*nvidia-smi"),
        (torch.OutOfMemoryError("CUDA out of memory."), "cell 'a': out of memory with model lenet, batch_size 100 "),
        (RuntimeError("Failed to find C compiler."), r"cell 'a': .* need a C compiler \(Failed .*\); install gcc"),
    ],
    ids=["lost", "out of memory", "no compiler"],
)
def test_a_failing_gpu_is_told_plainly_wherever_it_fails(manifest, monkeypatch, starts, failure, words):
    monkeypatch.setattr(measure, "open_device", lambda *_: FailingDevice(starts, failure))
    with pytest.raises(BenchmarkError, match=words) as refusal:
        run_cell(task(manifest, device="gpu"))
    assert "\n" not in str(refusal.value)


@pytest.mark.fault("hardware", "refused")
def test_any_other_error_keeps_its_traceback(manifest, monkeypatch):
    monkeypatch.setattr(measure, "open_device", lambda *_: FailingDevice(2, RuntimeError("a mistake of ours")))
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run_cell(task(manifest))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the address space")
@pytest.mark.fault("disk and memory", "refused")
def test_a_cell_too_large_for_the_memory_says_which_batch_size(manifest):
    code = f"""
    import resource, psutil
    from epochbench.errors import BenchmarkError
    from epochbench.timing.cell import Cell
    from epochbench.timing.protocol import Protocol
    from epochbench.timing.task import Task
    from epochbench.timing.run import run_cell
    limit = psutil.Process().memory_info().vms + 2**29
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        run_cell(Task(Cell("a", "cpu", "resnet18", batch_size=500), 1, Protocol(), {manifest!r}, 1))
    except BenchmarkError as refusal:
        print(refusal)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    packages = str(REPOSITORY / "workflow" / "scripts")
    done = subprocess.run(command, env={"PYTHONPATH": packages}, capture_output=True, text=True, check=False)
    assert "out of memory with model resnet18, batch_size 500" in done.stdout, done.stderr[-2000:]


@pytest.mark.fault("hardware", "survived")
def test_a_clock_that_is_set_back_during_a_run_changes_no_time(manifest, monkeypatch, tmp_path):
    honest = time.time
    monkeypatch.setattr(time, "time", lambda: honest() - 86_400)
    write_record(tmp_path / "run-1.json", run_cell(task(manifest)))
    found = read_record(tmp_path / "run-1.json")
    assert 0 <= found.timing.start_seconds <= found.wall_seconds


@pytest.mark.fault("hardware", "survived")
def test_a_clock_that_was_set_back_after_the_start_gives_no_negative_time():
    code = "import time; now = time.time; time.time = lambda: now() - 86_400\nfrom epochbench.timing import process\n"
    code += "print(process.SECONDS_BEFORE_IMPORT)"
    packages = str(REPOSITORY / "workflow" / "scripts")
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": packages}, capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == 0.0


@pytest.mark.fault("hardware", "refused")
def test_a_loss_that_is_no_number_is_recorded_as_such_and_judged(manifest, monkeypatch):
    honest = measure.build_network

    def broken(*arguments):
        network = honest(*arguments)
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return network

    monkeypatch.setattr(measure, "build_network", broken)
    made = judged(run_cell(task(manifest)))
    assert made.training.epoch_losses == [None, None]
    assert "it learned" in {finding.gate for finding in made.gates if finding.passed is False}
    assert dataclasses.asdict(made)["evidence"]["test_loss"] is None
