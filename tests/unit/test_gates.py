"""Proof by sabotage: each way of breaking a measurement makes its gate fire, and no other."""

import contextlib
import math
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from unit.examples import record

from epochbench.records import gates
from epochbench.records.judges import arithmetic, clocks
from epochbench.records.store import read_record
from epochbench.timing import calibrate, evidence, measure, reference, step, stopwatch
from epochbench.timing.cell import Cell
from epochbench.timing.device import Elapsed
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.load import load_split
from epochbench.timing.machine.host import usable_cores
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import FirstEpoch, FirstStep, GpuState, GpuWatch, Peaks, seal
from epochbench.timing.run import run_cell
from epochbench.timing.step import Step
from epochbench.timing.task import Task

# Enough steps to learn on the small archive: 5 a warm-up and 30 epochs of 5.
LONG = Protocol(warmup_steps=5, min_epochs=30, max_epochs=30, min_steps=0, min_seconds=0.0, max_seconds=60.0)

LIMITLESS = Peaks({"fp32": 1e15, "bf16": 1e15}, 1e15, 1e15)


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
    monkeypatch.setattr(evidence, "first_steps", lambda *_: [FirstStep(0.0, 0.0, 1e-7, 1e-5, 1e-5)])
    assert fired(measured(manifest)) == {"it learned"}


@pytest.mark.fault("hardware", "refused")
def test_weights_nan(manifest, monkeypatch):
    honest = stopwatch.time_epochs

    def with_nan(task, team, step, *rest):
        with torch.no_grad():
            next(step.network.parameters()).fill_(float("nan"))
        return honest(task, team, step, *rest)

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


SHORT = replace(LONG, warmup_steps=2, min_epochs=1, max_epochs=1)
SMALL_CELLS = {
    "resnet18": ({"model": "resnet18", "batch_size": 50}, SHORT),
    "batch 10": ({"batch_size": 10}, replace(SHORT, rate_scaling="linear")),
    "lenet in parts": ({"batch_size": 100, "micro_batch": 30}, SHORT),
    "resnet18 in parts": ({"model": "resnet18", "batch_size": 50, "micro_batch": 20}, SHORT),
}


@pytest.mark.parametrize(("cell", "protocol"), SMALL_CELLS.values(), ids=SMALL_CELLS)
def test_right_arithmetic_agrees_in_any_network_and_at_any_batch_size(manifest, cell, protocol):
    made = measured(manifest, protocol, **cell)
    assert fired(made) == set()
    assert {finding.gate: finding.passed for finding in made.gates}["same arithmetic"] is True


@pytest.mark.parametrize("sabotage", ["loss", "gradient", "nothing"])
@pytest.mark.parametrize("name", ["resnet18", "batch 10"])
def test_wrong_arithmetic_is_noticed_in_any_network_and_at_any_batch_size(manifest, monkeypatch, name, sabotage):
    """A loss a thousandth off, gradients a quarter off, and no update at all."""
    factors = {"loss": {"loss": 1.001}, "gradient": {"gradient": 1.25}, "nothing": {"gradient": 0.0}}
    sabotage_step(monkeypatch, factors[sabotage])
    cell, protocol = SMALL_CELLS[name]
    assert "same arithmetic" in fired(measured(manifest, protocol, **cell))


def sabotage_step(monkeypatch, factors):
    """Multiply what a step computes: its loss, or its gradients."""
    honest = Step._whole

    def wrong(self, images, labels):
        loss = honest(self, images, labels)
        for weight in self.network.parameters():
            weight.grad *= factors.get("gradient", 1.0)
        return loss * factors.get("loss", 1.0)

    monkeypatch.setattr(Step, "_whole", wrong)


def with_first_steps(precision, found, lower, plain, batch_size=1000, loss=1e-7):
    """A record of a GPU's cell whose first steps' updates deviate by so much."""
    made = record("gpu-a", precision=precision, batch_size=batch_size)
    steps = [FirstStep(loss, found, 1e-4 if lower > plain else 1e-7, lower, plain)] * 2
    evidence = replace(made.evidence, first_steps=steps, loss_deviation=loss, update_deviation=found)
    return seal(replace(made, evidence=evidence))


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_no_update_at_all_is_no_rounding(precision):
    assert fired_all(with_first_steps(precision, 3e-3, 4.2e-3, 1.3e-5)) == set()
    assert fired_all(with_first_steps(precision, 1.0, 4.2e-3, 1.3e-5)) == {"same arithmetic"}
    # ResNet-18's first updates in bf16 are a quarter off by rounding alone.
    assert fired_all(with_first_steps(precision, 0.28, 0.29, 4e-3)) == set()
    assert fired_all(with_first_steps(precision, 1.0, 0.29, 4e-3)) == {"same arithmetic"}


def test_no_update_at_all_is_no_rounding_in_an_older_record_either():
    made = record("gpu-a", precision="bf16")
    assert fired_all(seal(replace(made, evidence=replace(made.evidence, update_deviation=1.0)))) == {"same arithmetic"}


def test_resnet18_in_fp32_is_as_far_from_float64_as_on_an_h100():
    """There the first update of a batch of 1000 was off by about 4e-3, and both together by 3.4e-2."""
    made = with_first_steps("fp32", 3.9e-3, 3.9e-3, 3.9e-3)
    second = FirstStep(1.0e-4, 3.4e-2, 2e-4, 3.4e-2, 3.4e-2)
    evidence = replace(made.evidence, first_steps=[made.evidence.first_steps[0], second], update_deviation=3.4e-2)
    assert fired_all(seal(replace(made, evidence=evidence))) == set()


def test_what_rounding_alone_leads_astray_is_not_judged_by_its_updates():
    astray = with_first_steps("bf16", 1.3, 1.2, 1e-3, batch_size=10)
    assert fired_all(astray) == set()
    lost = replace(astray.evidence, first_steps=[FirstStep(1e-7, 1.3, None, 1.2, 1e-3)])
    judged = {finding.gate: finding.passed for finding in gates.findings(replace(astray, evidence=lost))}
    assert judged["same arithmetic"] is None


@pytest.mark.parametrize("model", ["resnet18", "mine"])
def test_an_older_record_of_another_network_is_not_judged_by_the_published_ones_tolerance(model):
    made = record(model=model)
    off = seal(replace(made, evidence=replace(made.evidence, update_deviation=3.4e-2)))
    assert {finding.gate: finding.passed for finding in gates.findings(off)}["same arithmetic"] is None


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32"])
def test_a_precision_that_was_never_used_is_a_warning(precision):
    unused = with_first_steps(precision, 1.3e-5, 4.2e-3, 1.3e-5)
    assert fired_all(unused) == {"precision used"}
    finding = next(finding for finding in gates.findings(unused) if finding.gate == "precision used")
    assert (finding.severity, finding.passed) == ("soft", False)
    assert f"not computed in {precision}" in finding.sentence


def test_bf16_without_autocast_is_noticed(manifest, monkeypatch):
    monkeypatch.setattr(CpuDevice, "computes_bf16", lambda _: True)
    assert fired(measured(manifest, SHORT, precision="bf16")) == set()
    monkeypatch.setattr(step, "autocast", lambda *_: contextlib.nullcontext())
    assert fired(measured(manifest, SHORT, precision="bf16")) == {"precision used"}


def test_the_references_are_computed_once(manifest, monkeypatch):
    cell = {"batch_size": 20}
    first = measured(manifest, SHORT, **cell)
    monkeypatch.setattr(reference, "_computed", None)
    assert measured(manifest, SHORT, **cell).evidence.first_steps == first.evidence.first_steps


@pytest.mark.parametrize("sabotage", ["loss", "gradient"])
def test_wrong_arithmetic(manifest, monkeypatch, sabotage):
    """A loss a thousandth off, and gradients a hundredth off, as no fp32 arithmetic makes them."""
    sabotage_step(monkeypatch, {"loss": {"loss": 1.001}, "gradient": {"gradient": 1.01}}[sabotage])
    assert fired(measured(manifest)) == {"same arithmetic"}


def test_a_record_edited_by_hand():
    made = record()
    edited = replace(made, timing=replace(made.timing, load_seconds=0.001))
    assert fired_all(edited) == {"untouched"}


H100 = Path(__file__).parent / "records" / "h100-gpu-best.json"


@pytest.mark.parametrize("factor", [0.0, 1e-9, -1.0, 2.0, 0.5, 1e3])
def test_events_of_an_h100_that_are_read_wrongly_are_noticed(factor):
    """108 epochs of 18.6 ms, each of which had the slack of all of them together."""
    made = read_record(H100)
    assert "synchronised" not in fired_all(made)
    events = [factor * second for second in made.timing.event_seconds]
    assert "synchronised" in fired_all(seal(replace(made, timing=replace(made.timing, event_seconds=events))))
    one = [events[0], *made.timing.event_seconds[1:]]
    assert "synchronised" in fired_all(seal(replace(made, timing=replace(made.timing, event_seconds=one))))


def test_a_host_taken_away_for_longer_than_an_epoch_is_no_lie_either():
    """The device took as long for that epoch as for the others, and the wall clock half as long again or more."""
    made = read_record(H100)
    for away in (0.01, 0.03, 0.2):
        walls = [made.timing.epoch_seconds[0] + away, *made.timing.epoch_seconds[1:]]
        evidence = replace(made.evidence, outer_seconds=made.evidence.outer_seconds + away)
        late = replace(made, timing=replace(made.timing, epoch_seconds=walls), evidence=evidence)
        assert "synchronised" not in fired_all(seal(late))


def test_a_small_batch_waits_for_its_launches_inside_the_events():
    """At batch 10 on an H100 an epoch of 0.69 s has 0.09 s of work: the device's events tell the whole epoch's time."""
    made = record("gpu-a", epochs=[0.69, 0.75, 0.7, 0.9, 0.71], batch_size=10)
    assert "synchronised" not in fired_all(made)
    halved = [second / 2 if number == 2 else second for number, second in enumerate(made.timing.epoch_seconds)]
    assert "synchronised" in fired_all(seal(replace(made, timing=replace(made.timing, event_seconds=halved))))


def test_a_host_taken_away_before_it_reads_its_clock_is_no_lie():
    made = read_record(H100)
    walls = [wall + (0.003 if number % 10 == 0 else 0.0) for number, wall in enumerate(made.timing.epoch_seconds)]
    outer = made.evidence.outer_seconds + sum(walls) - sum(made.timing.epoch_seconds)
    evidence = replace(made.evidence, outer_seconds=outer)
    late = seal(replace(made, timing=replace(made.timing, epoch_seconds=walls), evidence=evidence))
    assert "synchronised" not in fired_all(late)


def learned(**changes):
    """What the gate says of a record with other evidence, training, protocol or cell."""
    made = record(**{key: changes.pop(key) for key in ("batch_size",) if key in changes})
    parts = {name: replace(getattr(made, name), **changes.pop(name)) for name in list(changes)}
    findings = {finding.gate: finding for finding in gates.findings(seal(replace(made, **parts)))}
    return findings["it learned"]


KNOWN = {"train_images_evaluated": 300, "train_loss": 0.2, "train_accuracy": 0.97}


def test_overfitting_is_learning_and_is_said():
    """300 images, seen thousands of times: the test loss is far above chance, the training images are known."""
    found = learned(evidence=KNOWN | {"test_loss": 5.1}, training={"test_accuracy": 0.105})
    assert found.passed is True
    assert "overfitted" in found.sentence
    assert "overfitted" not in learned(evidence=KNOWN | {"test_loss": 5.1}, training={"test_accuracy": 0.4}).sentence


def test_the_labels_in_the_shards_are_what_must_be_learned():
    """A network that fits other labels has a low loss in its steps, and knows its own images no better than chance."""
    fits = {"epoch_losses": [2.2, 1.0, 0.1], "test_accuracy": 0.1}
    evidence = {"train_images_evaluated": 2000, "train_loss": 6.0, "train_accuracy": 0.11, "test_loss": 6.1}
    assert learned(evidence=evidence, training=fits).passed is False


def test_what_was_learned_in_few_steps_counts():
    assert learned(evidence=KNOWN | {"counted_steps": 20}, training={"learning_rate": 1e-4}).passed is True


@pytest.mark.parametrize(("loss", "accuracy"), [(2.3026, 0.104), (2.3020, 0.104), (2.3026, 0.2)])
def test_the_same_answer_for_every_image_is_not_learned(loss, accuracy):
    same = {"train_images_evaluated": 2000, "train_loss": loss, "train_accuracy": accuracy, "test_loss": 2.3026}
    assert learned(evidence=same, training={"test_accuracy": 0.1}).passed is False


@pytest.mark.parametrize("lost", [{"test_loss": None}, KNOWN | {"train_loss": None}])
@pytest.mark.parametrize("rate", [0.01, 1e-4])
def test_a_loss_that_is_not_a_number_is_always_an_error(lost, rate):
    found = learned(evidence=lost, training={"learning_rate": rate})
    assert (found.passed, found.severity) == (False, "hard")


@pytest.mark.parametrize(
    ("rate", "batch_size", "steps", "judged"),
    [
        (0.01, 1000, 90, True),
        (0.01, 100, 90, True),
        (0.01, 10, 9990, None),
        (1e-4, 10, 9990, True),
        (1e-4, 10, 9980, None),
        (0.01, 10000, 90, True),
        (0.01, 10000, 80, None),
        (0.01, 1000, 80, None),
    ],
)
def test_learning_is_asked_of_a_protocol_that_can_learn(rate, batch_size, steps, judged):
    same = {"train_images_evaluated": 2000, "train_loss": 2.3026, "train_accuracy": 0.1, "test_loss": 2.3026}
    found = learned(
        batch_size=batch_size,
        evidence=same | {"counted_steps": steps},
        training={"learning_rate": rate, "test_accuracy": 0.1},
    )
    assert found.passed is (None if judged is None else False)


WATCH = GpuWatch(40, 8.0, 1980, 1980, 1980, 350.0, {}, {"power": 0.0, "thermal": 0.0}, 0)


@pytest.mark.parametrize(
    ("changes", "noise"),
    [
        ({"sm_clock_min_mhz": 1200, "sm_clock_median_mhz": 1200}, "1200 MHz of 1980 MHz"),
        ({"held_shares": {"hardware thermal slowdown": 0.5}}, "hardware thermal slowdown in 50% of the looks"),
        ({"violation_seconds": {"power": 1.5, "thermal": 0.0}}, "power violation for 1.5 s"),
        ({"processes": 2}, "2 other processes on the card"),
    ],
)
def test_a_held_clock_and_a_neighbour_on_the_card_are_seen_while_the_clock_runs(changes, noise):
    made = record("gpu-a")

    def watched(watch):
        return seal(replace(made, conditions=replace(made.conditions, gpu_watch=watch)))

    assert fired_all(watched(WATCH)) == set()
    disturbed = watched(replace(WATCH, **changes))
    assert fired_all(disturbed) == {"quiet"}
    assert noise in next(finding for finding in gates.findings(disturbed) if finding.gate == "quiet").sentence


def test_a_neighbour_before_or_after_the_epochs_counts_too():
    made = record("gpu-a")
    shared = GpuState(1980, 2619, 40, 700.0, [], 1)
    assert fired_all(seal(replace(made, conditions=replace(made.conditions, gpu_after=shared)))) == {"quiet"}


def test_a_record_is_judged_by_the_highest_peaks_of_its_machine():
    low = seal(replace(record(), peaks=replace(LIMITLESS, matrix_flop_per_second={"fp32": 1e9})))
    assert fired_all(low) == {"possible"}
    assert not {finding.gate for finding in gates.findings(low, LIMITLESS) if finding.passed is False}


def test_untouched_does_not_promise_more_than_a_checksum_keeps():
    gate = next(gate for gate in gates.GATES if gate.name == "untouched")
    assert "tampering" in gate.demand
    assert "corrupted" in gate.judge(record())[1]


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


def test_a_peak_that_others_kept_down_accuses_no_epoch():
    """Beside five busy neighbours one thread reached 42 GFLOP/s in a matrix product, and 49 in the epochs before."""
    made = record()
    low = replace(made.peaks, matrix_flop_per_second={"fp32": 1e11})
    crowded = seal(replace(made, peaks=low, conditions=replace(made.conditions, other_cpu_seconds=20.0)))
    assert fired_all(crowded) == {"quiet"}
    finding = next(finding for finding in gates.findings(crowded) if finding.gate == "possible")
    assert finding.passed is None
    assert "too low to judge by" in finding.sentence
    far_too_fast = replace(made.peaks, matrix_flop_per_second={"fp32": 1e10})
    assert fired_all(seal(replace(crowded, peaks=far_too_fast))) == {"quiet", "possible"}


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


def test_what_the_kernel_does_not_tell_is_unknown_rather_than_nothing():
    made = record()
    silent = seal(replace(made, conditions=replace(made.conditions, steal_seconds=None)))
    finding = next(finding for finding in gates.findings(silent) if finding.gate == "quiet")
    assert finding.passed is True
    assert "the hypervisor an unknown share; the middle half" in finding.sentence


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


@pytest.mark.parametrize(
    ("precision", "expected", "found", "shares", "passed"),
    [
        ("fp32", 0.00056, 0.00064, [1.001, 1.003], True),
        ("fp32", 0.00056, 0.0087, [1.0, 0.0], False),
        ("fp32", 0.00056, 0.012, [1.0, 1.0], False),  # another step than the last ones
        ("tf32", 0.00146, 0.00158, [1.0, 1.006], True),
        ("tf32", 0.00146, 0.0088, [1.0, 0.006], False),
        ("bf16", 0.00276, 0.00825, [1.01, 1.021], True),  # Keras on TensorFlow: as much as the last step moves
        ("bf16", 0.00276, 0.0093, [0.9, -0.03], False),
        ("bf16", 0.00276, 0.012, [0.05, 0.9], False),  # the last but one
        ("bf16", 0.00276, 0.0093, [1.0, None], False),
        ("bf16", 0.00276, 0.0027, [], True),  # an older record
    ],
)
def test_a_step_that_a_whole_epoch_leaves_out_is_noticed_in_any_precision(
    manifest, precision, expected, found, shares, passed
):
    """Fifty steps of 1,000 images as they were taken on two cores and an H200, and without one of them."""
    made = measured(manifest)
    epoch = FirstEpoch(50, 50, 0.0, found, 0.0, expected, shares, [0.024] * len(shares))
    evidence = replace(made.evidence, first_epoch=epoch, tf32_allowed=None)
    cell = replace(made.cell, precision=precision, batch_size=1000)
    assert arithmetic._whole_epoch(replace(made, evidence=evidence, cell=cell))[0] is passed


@pytest.mark.parametrize("expected", [0.06, None])
def test_a_last_step_that_rounding_alone_hides_is_not_judged(expected):
    passed, said = arithmetic._late_steps(FirstEpoch(50, 50, 0.0, 0.02, 0.0, 0.02, [0.0], [expected]))
    assert (passed, said) == (True, ", its last steps not told from rounding")


def epoch_task(manifest, precision="fp32", batch_size=100):
    return Task(Cell("a", "cpu", precision=precision, batch_size=batch_size), 1, LONG, manifest, threads=1)


class Forgetful(reference._Momentum):
    """SGD that leaves a step out."""

    def __init__(self, left_out, *given):
        super().__init__(*given)
        self.left_out = left_out

    def apply(self, gradients):
        self.left_out -= 1
        if self.left_out != -1:
            super().apply(gradients)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_late_step_of_an_epoch_is_told_from_rounding(manifest, monkeypatch, precision):
    task = epoch_task(manifest, precision)
    right = reference.reference_steps(task, 5, whole=True)
    expected = reference.expected(task, right, precision, whole=True)
    assert [10 * off < 0.5 for off in expected.late] == [True] * 5
    for left_out in range(5):
        monkeypatch.setattr(reference, "_Momentum", partial(Forgetful, left_out))
        rounded = reference._computed(task, 5, torch.float32, precision, whole=True)
        shares = right.late_shares(rounded.updates[-1], task.protocol.momentum)
        assert min(shares) < 0.3, left_out


def test_an_epoch_in_fp32_is_held_against_several_of_roundings(manifest, monkeypatch, tmp_path):
    task = epoch_task(manifest)
    right = reference.reference_steps(task, 5, whole=True)
    astray = [reference._computed(task, 5, torch.float32, "fp32", whole=True, draw=draw) for draw in reference.DRAWS]
    off = [right.distance(-1, each.updates[-1]) for each in astray]
    assert 0 < max(off) <= reference.expected(task, right, "fp32", whole=True).updates[-1]
    monkeypatch.setattr(reference, "_path", lambda *_: tmp_path / "nothing is kept" / "x")
    monkeypatch.setattr(reference, "LAST_PLACES", 1e-3)
    assert reference.expected(task, right, "fp32", whole=True).updates[-1] > 100 * max(off)


@pytest.mark.parametrize(("batch_size", "steps"), [(500, 1), (200, 3)])
def test_an_epoch_may_be_one_step_and_its_last_batch_smaller(manifest, batch_size, steps):
    task = epoch_task(manifest, batch_size=batch_size)
    right = reference.reference_steps(task, steps, whole=True)
    made = [float(losses.nanmean()) for losses in right.losses]
    found = evidence.first_epoch(task, [made], right.updates[-1])
    assert (found.steps, found.loss_deviation, found.update_deviation) == (steps, 0, 0)
    assert found.late_shares == [1] * steps


def test_the_loss_that_is_judged_is_the_one_furthest_beyond_what_is_expected(manifest, monkeypatch):
    task = epoch_task(manifest)
    right = reference.reference_steps(task, 5, whole=True)
    rounded = replace(reference.expected(task, right, "fp32", whole=True), losses=[4e-9, 1e-5, 1e-5, 1e-5, 1e-5])
    monkeypatch.setattr(reference, "expected", lambda *_, **__: rounded)
    made = [float(losses.nanmean()) for losses in right.losses]
    made = [made[0] * (1 + 2e-7), made[1], made[2] * (1 + 2e-4), *made[3:]]  # 50 and 20 times what is expected
    found = evidence.first_epoch(task, [made], right.updates[-1])
    assert found.loss_deviation == pytest.approx(2e-4)
    assert (found.expected_loss_deviation, found.compared_losses) == (1e-5, 5)


@pytest.mark.parametrize(
    ("changed", "off"),
    [(lambda losses: losses[:4], None), (lambda losses: [*losses[:4], math.nan], None),
     (lambda losses: [*losses[:4], losses[4] * 1.01], pytest.approx(0.01))],
    ids=["too few", "no number", "another loss"],
)  # fmt: skip
@pytest.mark.parametrize("which", [0, 1, 2])
def test_each_of_the_epochs_from_the_first_weights_is_judged(manifest, which, changed, off):
    task = epoch_task(manifest)
    right = reference.reference_steps(task, 5, whole=True)
    made = [[float(losses.nanmean()) for losses in right.losses]] * 3
    made[which] = changed(made[which])
    found = evidence.first_epoch(task, made, right.updates[-1])
    assert found.loss_deviation == off
    assert found.steps == len(made[which])
    judged = replace(record().evidence, first_epoch=found)
    assert arithmetic._whole_epoch(replace(record(batch_size=100), evidence=judged))[0] is False


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (5, "losses within 0.0e+00 (at most "),
        (3, "losses of the first 3 within 0.0e+00 (at most "),
        (0, "no losses told from rounding, "),
    ],
)
def test_losses_that_rounding_hides_are_said_not_to_be_compared(manifest, monkeypatch, told, words):
    task = epoch_task(manifest)
    right = reference.reference_steps(task, 5, whole=True)
    rounded = replace(reference.expected(task, right, "fp32", whole=True), losses=[1e-7] * told + [0.03] * (5 - told))
    monkeypatch.setattr(reference, "expected", lambda *_, **__: rounded)
    made = [float(losses.nanmean()) * (1 if step < told else 50) for step, losses in enumerate(right.losses)]
    found = evidence.first_epoch(task, [made], right.updates[-1])
    assert found.compared_losses == told
    judged = replace(record().evidence, first_epoch=found)
    passed, said = arithmetic._whole_epoch(replace(record(batch_size=100), evidence=judged))
    assert passed
    assert f"steps as it is timed: {words}" in said


def test_threads_beyond_those_asked_for_are_noticed():
    made = record(threads=1)
    honest, busy = 6.31 * 1.01, 2 * 6.31
    for taken, expected in ((honest, set()), (busy, {"fair CPU"})):
        conditions = replace(made.conditions, threads=1, own_cpu_seconds=taken)
        assert fired_all(seal(replace(made, conditions=conditions))) == expected


def test_a_loss_that_is_right_by_luck_leaves_the_next_ones_room():
    right = torch.full((3, 4), 2.0, dtype=torch.float64)
    found = right + torch.tensor([[0.1] * 4, [0.0] * 4, [-0.02] * 4])
    assert reference._means_off(found, right) == pytest.approx([0.05, 0.05, 0.05])
    spread = right + torch.tensor([[0.4, -0.4, 0.4, -0.4]] * 3)
    assert reference._means_off(spread, right) == pytest.approx([0.1] * 3)


@pytest.mark.parametrize(
    ("walls", "late", "passed"), [(0.05, 0.0009, True), (0.05, 0.01, False), (0.0015, 0.0009, None)]
)
def test_results_that_come_late_are_told_from_a_slow_question(manifest, walls, late, passed):
    made = measured(manifest)
    timing = replace(made.timing, epoch_seconds=[walls] * 10, event_seconds=None)
    evidence = replace(made.evidence, late_seconds=late, outer_seconds=10 * walls, between_seconds=0.0)
    assert clocks.synchronised(replace(made, timing=timing, evidence=evidence))[0] is passed
