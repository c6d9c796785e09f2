"""Proof by sabotage: each way of breaking a measurement makes its gate fire, and no other."""

import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from unit.examples import record

from epochbench.records import gates
from epochbench.timing import calibrate, evidence, measure, step, stopwatch
from epochbench.timing.cell import Cell
from epochbench.timing.device import Elapsed
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.load import load_split
from epochbench.timing.machine.host import usable_cores
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import GpuState, Peaks, seal
from epochbench.timing.run import run_cell
from epochbench.timing.step import Step
from epochbench.timing.task import Task

# Enough steps to learn on the small archive: 5 a warm-up and 30 epochs of 5.
LONG = Protocol(warmup_steps=5, min_epochs=30, max_epochs=30, min_steps=0, min_seconds=0.0, max_seconds=60.0)

LIMITLESS = Peaks({"fp32": 1e15}, 1e15, 1e15)


@pytest.fixture(autouse=True)
def peaks(monkeypatch):
    """No peak is measured here: beside other tests it would be too low, and a right epoch faster than it allows."""
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: LIMITLESS)


def measured(manifest, protocol=LONG, **cell):
    values = {"cell": "a", "device": "cpu", "batch_size": 100, "threads": 1} | cell
    return gates.judged(run_cell(Task(Cell(**values), 1, protocol, manifest, threads=1)))


def fired(record):
    """Return the gates that fired; quiet depends on the machine under the tests and is proved by itself."""
    return {finding.gate for finding in gates.findings(record) if finding.passed is False} - {"quiet"}


def fired_all(record):
    return {finding.gate for finding in gates.findings(record) if finding.passed is False}


def test_without_sabotage_no_gate_fires(manifest):
    made = measured(manifest)
    assert fired(made) == set()
    judged = {finding.gate: finding.passed for finding in made.gates}
    assert judged["it learned"] is True
    assert set(judged) == {gate.name for gate in gates.GATES}


@pytest.mark.parametrize("cell", [{"device": "cpu"}, {"device": "gpu"}, {"device": "gpu", "precision": "tf32"}])
def test_a_right_record_passes_every_gate(cell):
    name = f"{cell.pop('device')}-a"
    assert fired_all(record(name, **cell)) == set()


class AsynchronousDevice(CpuDevice):
    """A fake accelerator on a clock of its own: a queued step takes the host 1 ms, and the device 20 ms."""

    def __init__(self, waits=True, events=1):
        super().__init__()
        self.waits, self.events = waits, events
        self.host = self.device = 0.0

    def queue_step(self):
        self.host += 0.001
        self.device = max(self.device, self.host) + 0.02

    def wait(self):
        waited = max(0.0, self.device - self.host)
        self.host += waited
        return waited

    def start(self):
        self.wait()
        self.began = self.host

    def stop(self):
        ended = self.device
        waited = self.wait() if self.waits else 0.0
        return Elapsed(self.host - self.began, self.events * (ended - self.began), waited)


def timed_on(device, monkeypatch, manifest):
    """Measure with a device whose work is queued, and return what fired."""

    def queued(self, images, labels):
        device.queue_step()
        return Step.__call__(self, images, labels)

    clock = SimpleNamespace(
        time=time.time, perf_counter=lambda: device.host, monotonic=lambda: (device.wait(), device.host)[1]
    )
    monkeypatch.setattr(measure, "time", clock)
    monkeypatch.setattr(stopwatch, "time", clock)
    monkeypatch.setattr(step, "time", clock)
    monkeypatch.setattr(measure, "open_device", lambda *_: device)
    monkeypatch.setitem(step.STEPS, "eager", type("QueuedStep", (Step,), {"__call__": queued}))
    return fired(measured(manifest))


def test_a_synchronised_device_agrees_with_its_events(manifest, monkeypatch):
    assert timed_on(AsynchronousDevice(), monkeypatch, manifest) == set()


def test_synchronisation_removed(manifest, monkeypatch):
    assert timed_on(AsynchronousDevice(waits=False), monkeypatch, manifest) == {"synchronised"}


@pytest.mark.parametrize(("between", "expected"), [(0.021, set()), (None, {"synchronised"})])
def test_a_host_kept_busy_between_the_epochs_is_no_clock_that_lies(between, expected):
    """Beside other work a tiny run once took 0.345 s in its epochs and 0.021 s between them."""
    made = record(epochs=[0.115, 0.115, 0.115])
    evidence = replace(made.evidence, outer_seconds=0.366, between_seconds=between)
    assert fired_all(seal(replace(made, evidence=evidence))) == expected


@pytest.mark.fault("hardware", "refused")
def test_gpu_events_reversed(manifest, monkeypatch):
    assert timed_on(AsynchronousDevice(events=-1), monkeypatch, manifest) == {"synchronised"}
    reversed_ = record("gpu-a")
    events = [-second for second in reversed_.timing.epoch_seconds]
    assert fired_all(seal(replace(reversed_, timing=replace(reversed_.timing, event_seconds=events)))) == {
        "synchronised"
    }


@pytest.mark.skipif(usable_cores() < 2, reason="one thread is all there is on a machine of one core")
def test_one_thread_forced(manifest):
    assert fired(measured(manifest, threads=None)) == {"fair CPU"}


def test_the_loader_inside_the_clock(manifest, monkeypatch):
    honest = stopwatch.time_epoch

    def with_loader(step, batches, device):
        started = time.perf_counter()
        for _ in range(20):
            load_split(manifest, "train", "cpu")
        elapsed, loss = honest(step, batches, device)
        return Elapsed(time.perf_counter() - started, elapsed.event_seconds), loss

    monkeypatch.setattr(stopwatch, "time_epoch", with_loader)
    assert fired(measured(manifest)) == {"only training"}


def test_half_the_steps_skipped(manifest, monkeypatch):
    honest = stopwatch.time_epoch
    monkeypatch.setattr(stopwatch, "time_epoch", lambda step, batches, device: honest(step, batches[::2], device))
    longer = replace(LONG, min_epochs=60, max_epochs=60)
    assert fired(measured(manifest, protocol=longer)) == {"work done"}


def test_the_optimiser_forgotten(manifest, monkeypatch):
    """From the first timed step on; the weights stay as the warm-up left them."""
    honest = stopwatch.time_epochs

    def without_optimiser(task, team, step, *rest):
        step.optimizer.step = lambda *_, **__: None
        return honest(task, team, step, *rest)

    monkeypatch.setattr(stopwatch, "time_epochs", without_optimiser)
    protocol = replace(LONG, warmup_steps=150)
    assert fired(measured(manifest, protocol=protocol)) == {"work done"}


def test_labels_random(manifest, monkeypatch):
    honest = measure.load_batches

    def with_random_labels(task, team, device):
        batches, seconds = honest(task, team, device)
        random = torch.Generator().manual_seed(1)
        return [(images, torch.randint(0, 10, labels.shape, generator=random)) for images, labels in batches], seconds

    monkeypatch.setattr(measure, "load_batches", with_random_labels)
    # The reference sees the right labels, so the arithmetic is judged on the images' own: judge learning alone.
    monkeypatch.setattr(evidence, "deviations", lambda *_: (0.0, 0.0))
    assert fired(measured(manifest)) == {"it learned"}


@pytest.mark.fault("hardware", "refused")
def test_weights_nan(manifest, monkeypatch):
    honest = stopwatch.time_epochs

    def with_nan(task, team, step, network, *rest):
        with torch.no_grad():
            next(network.parameters()).fill_(float("nan"))
        return honest(task, team, step, network, *rest)

    monkeypatch.setattr(stopwatch, "time_epochs", with_nan)
    assert fired(measured(manifest)) == {"it learned"}


def test_denormal_weights(manifest, monkeypatch):
    honest = evidence.subnormal_share

    def with_denormals(network):
        with torch.no_grad():
            next(network.parameters()).fill_(1.0).view(torch.int32).fill_(1000)
        return honest(network)

    monkeypatch.setattr(evidence, "subnormal_share", with_denormals)
    assert fired(measured(manifest)) == {"subnormals"}


def test_a_cpu_hog_beside_the_run(manifest):
    code = "import time\nend = time.time() + 60\nwhile time.time() < end: pass"
    hog = subprocess.Popen([sys.executable, "-c", code])
    try:
        longer = replace(LONG, min_seconds=2.0, max_seconds=4.0, max_epochs=1000)
        made = measured(manifest, protocol=longer)
    finally:
        hog.kill()
        hog.wait()
    assert "quiet" in fired_all(made)
    assert fired(made) == set()


def test_a_cell_ten_percent_slower_than_it_claims(manifest, monkeypatch):
    honest = stopwatch.time_epoch

    def flattering(*arguments):
        elapsed, loss = honest(*arguments)
        return replace(elapsed, wall_seconds=elapsed.wall_seconds * 0.9), loss

    monkeypatch.setattr(stopwatch, "time_epoch", flattering)
    assert fired(measured(manifest)) == {"synchronised"}


def test_tf32_on_in_an_fp32_cell():
    made = record("gpu-a")
    assert fired_all(seal(replace(made, evidence=replace(made.evidence, tf32_allowed=True)))) == {"same arithmetic"}
    made = record("gpu-a", precision="tf32")
    assert fired_all(seal(replace(made, evidence=replace(made.evidence, tf32_allowed=False)))) == {"same arithmetic"}


@pytest.mark.parametrize("sabotage", ["loss", "gradient"])
def test_wrong_arithmetic(manifest, monkeypatch, sabotage):
    """A loss a thousandth off, and gradients a hundredth off, as no fp32 arithmetic makes them."""
    honest = Step._whole

    def wrong(self, images, labels):
        loss = honest(self, images, labels)
        if sabotage == "gradient":
            for weight in self.network.parameters():
                weight.grad *= 1.01
        return loss * 1.001 if sabotage == "loss" else loss

    monkeypatch.setattr(Step, "_whole", wrong)
    assert fired(measured(manifest)) == {"same arithmetic"}


def test_a_record_edited_by_hand():
    made = record()
    edited = replace(made, timing=replace(made.timing, load_seconds=0.001))
    assert fired_all(edited) == {"untouched"}


def test_a_disturbed_calibration_is_repeated_before_the_timing_is_accused(manifest, monkeypatch):
    too_low, right = Peaks({"fp32": 1e6}, 1e15, 1e15), LIMITLESS
    answers = [too_low, too_low, right]
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: answers.pop(0))
    assert fired(measured(manifest)) == set()
    assert answers == []
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: too_low)
    assert fired(measured(manifest)) == {"possible"}


def test_an_impossible_epoch():
    made = record()
    impossible = replace(made, peaks=replace(made.peaks, matrix_flop_per_second={"fp32": 1e11}))
    assert fired_all(seal(impossible)) == {"possible"}


@pytest.mark.parametrize(
    ("conditions", "noise"),
    [
        ({"steal_seconds": 9.0}, "hypervisor 17"),
        ({"other_cpu_seconds": 9.0}, "Others took 17"),
        ({"lock_wait_seconds": 900.0}, "Waited 900 s"),
        ({"gpu_after": GpuState(900, 2000, 90, 300.0, ["hardware thermal slowdown"], 0)}, "hardware thermal slowdown"),
    ],
)
def test_a_disturbed_machine_is_a_warning(conditions, noise):
    made = record()
    disturbed = seal(replace(made, conditions=replace(made.conditions, **conditions)))
    assert fired_all(disturbed) == {"quiet"}
    finding = next(finding for finding in gates.findings(disturbed) if finding.gate == "quiet")
    assert noise in finding.sentence
    assert finding.severity == "soft"


def test_a_tuned_allocator_that_gives_its_memory_back_is_a_warning():
    made = record(allocator="tuned")
    assert fired_all(made) == set()
    faulting = replace(made.conditions, minor_page_faults=50 * made.evidence.counted_images)
    assert fired_all(seal(replace(made, conditions=faulting))) == {"memory kept"}


def test_a_record_without_peaks_is_not_judged_by_them():
    old = seal(replace(record(), peaks=None, limit=None))
    assert {finding.gate: finding.passed for finding in gates.findings(old)}["possible"] is None


def test_too_few_steps_to_learn_are_not_judged():
    made = record(epochs=[2.0])
    few = replace(made, evidence=replace(made.evidence, test_loss=2.4))
    assert {finding.gate: finding.passed for finding in gates.findings(few)}["it learned"] is None


def test_the_worst_run_speaks_for_a_cell():
    good, bad = record(), replace(record(), checksum="0" * 64)
    worst = {finding.gate: finding.passed for finding in gates.worst([gates.findings(good), gates.findings(bad)])}
    assert worst["untouched"] is False
    assert worst["work done"] is True


def test_every_gate_has_a_sentence_and_a_demand():
    for gate in gates.GATES:
        assert gate.demand
        assert gate.judge.__doc__.strip().endswith(".")
    for finding in gates.findings(record()):
        assert finding.sentence.endswith(".")
