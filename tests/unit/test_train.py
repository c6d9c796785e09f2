import dataclasses
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from epochbench.errors import BenchmarkError
from epochbench.records.gates import HARD, judged
from epochbench.records.store import read_record, write_record
from epochbench.timing import measure, reference, rounding, stopping, stopwatch
from epochbench.timing.cell import Cell
from epochbench.timing.device import Elapsed
from epochbench.timing.devices import open_device
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.load import dataset_of, load_batches, load_split
from epochbench.timing.network import build_network
from epochbench.timing.optimizer import build_optimizer
from epochbench.timing.protocol import Protocol
from epochbench.timing.run import run_cell
from epochbench.timing.step import GraphStep, Step, build_step
from epochbench.timing.task import Task
from epochbench.timing.team import Solo

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)


def task(manifest, protocol=SHORT, **cell):
    values = {"cell": "a", "device": "cpu", "batch_size": 100} | cell
    return Task(Cell(**values), 1, protocol, manifest, threads=1)


def losses(manifest, **cell):
    """Return the losses of a short training: each warm-up step and the end of each epoch."""
    training = run_cell(task(manifest, **cell)).training
    return training.warmup_losses + training.epoch_losses


def reference_losses(manifest):
    """The same training written down plainly: momentum by hand, in double precision."""
    images, labels = load_split(manifest, "train", "cpu")
    network = build_network("lenet", dataset_of(manifest), SHORT.seed).double()
    velocity = [torch.zeros_like(weight) for weight in network.parameters()]
    batches = list(zip(images.double().split(100), labels.split(100), strict=True))
    found = []
    for batch, truth in batches[:2] + batches * 2:
        loss = functional.nll_loss(torch.log(functional.softmax(network(batch), dim=1)), truth)
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        with torch.no_grad():
            for weight, speed, gradient in zip(network.parameters(), velocity, gradients, strict=True):
                speed.mul_(0.9).add_(gradient)
                weight.sub_(0.01 * speed)
        found.append(loss.item())
    return [*found[:2], found[6], found[11]]


def test_the_scaled_loss_of_fp16_updates_the_weights_as_fp32_does(manifest):
    images, labels = load_split(manifest, "train", "cpu", limit=100)

    def update(precision):
        network = build_network("lenet", dataset_of(manifest), SHORT.seed)
        before = reference.weights(network)
        step = build_step(task(manifest, precision=precision), network, CpuDevice())
        for _ in range(2):
            step.take(images, labels)
        return reference.weights(network) - before

    exact = update("fp32")
    assert (update("fp16") - exact).norm() < 0.03 * exact.norm()


def test_trains_as_published_softmax_cross_entropy_and_momentum(manifest):
    assert losses(manifest) == pytest.approx(reference_losses(manifest), rel=1e-4)


WAYS = [
    {"memory_format": "channels_last"},
    {"memory_format": "onednn", "layers": "pool_first"},
    {"layers": "space_to_depth"},
    {"micro_batch": 30},
    {"micro_batch": 100},
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_computing_fp32_trains_to_the_same_losses(manifest, way):
    assert losses(manifest, **way) == pytest.approx(losses(manifest), rel=1e-4)


TORCHS_OWN = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


@pytest.mark.parametrize(("name", "weight_decay"), [("sgd", 0.0), ("sgd", 0.1), ("adam", 0.1), ("adamw", 0.1)])
def test_an_optimiser_is_torchs_own(manifest, name, weight_decay):
    """Ours call torch's functional updates; its classes do the same, step for step, and so do the fused kernels."""
    images, labels = load_split(manifest, "train", "cpu")
    networks = [build_network("lenet", dataset_of(manifest), 1) for _ in range(3)]
    protocol = Protocol(optimizer=name, weight_decay=weight_decay, momentum=0.8)
    own = {"momentum": 0.8} if name == "sgd" else {"betas": (0.8, 0.999)}
    optimizers = [
        TORCHS_OWN[name](networks[0].parameters(), lr=0.01, weight_decay=weight_decay, **own),
        *(
            build_optimizer(dict(network.named_parameters()), protocol, 0.01, fused)
            for network, fused in zip(networks[1:], (False, True), strict=True)
        ),
    ]
    for batch, truth in zip(images.split(100), labels.split(100), strict=True):
        for network, optimizer in zip(networks, optimizers, strict=True):
            optimizer.zero_grad()
            functional.cross_entropy(network(batch), truth).backward()
            optimizer.step()
    for expected, one, fused in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(one, expected)
        torch.testing.assert_close(fused, expected, atol=1e-4, rtol=1e-4)


def test_a_run_does_not_import_torchs_compiler_unless_it_compiles(manifest):
    code = (
        "import sys; from epochbench.timing.run import *; from epochbench.timing.cell import Cell;"
        "from epochbench.timing.protocol import Protocol; from epochbench.timing.task import Task;"
        "run_cell(Task(Cell('a', 'cpu', batch_size=100), 1, Protocol(min_epochs=1, max_epochs=1), sys.argv[1], 1));"
        "print('torch._dynamo' in sys.modules)"
    )
    command = [sys.executable, "-c", code, manifest]
    environment = os.environ | {"PYTHONPATH": "workflow/scripts"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.slow
def test_compiled_training_has_the_same_losses(manifest):
    assert losses(manifest, execution="compile") == pytest.approx(losses(manifest), rel=1e-4)


@pytest.mark.slow
def test_two_processes_train_to_the_same_losses(manifest):
    two = run_cell(dataclasses.replace(task(manifest, processes=2), threads=2))
    one = run_cell(task(manifest))
    assert two.training.warmup_losses == pytest.approx(one.training.warmup_losses, rel=1e-4)
    assert two.training.epoch_losses == pytest.approx(one.training.epoch_losses, rel=1e-4)
    assert two.conditions.threads == 2
    assert two.training.steps_per_epoch == 5
    # Two processes hold an interpreter and a copy of the images each.
    assert two.training.peak_memory_bytes > 1.5 * 2**28


def test_a_worker_that_fails_ends_the_run_with_its_cell_named(manifest):
    with pytest.raises(BenchmarkError, match="cell 'a': a worker of 2 failed"):
        run_cell(dataclasses.replace(task(manifest, processes=2, batch_size=10_000), threads=2))


def test_bf16_is_refused_by_name_where_the_processor_lacks_it(manifest, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with pytest.raises(BenchmarkError, match="precision bf16, but this processor .* AVX-512"):
        run_cell(task(manifest, precision="bf16"))


def test_bf16_computes_in_bf16(manifest):
    """On a few images only: processors without bf16 imitate it slowly."""
    images, labels = load_split(manifest, "train", "cpu", limit=8)
    losses = {}
    for precision in ("fp32", "bf16"):
        step = build_step(
            task(manifest, precision=precision), build_network("lenet", dataset_of(manifest), 1), CpuDevice()
        )
        losses[precision] = float(step.take(images, labels))
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], rel=2e-2)


def test_every_image_is_trained_on_once_an_epoch_in_order(manifest, monkeypatch):
    seen = []
    monkeypatch.setattr(Step, "__call__", lambda self, images, labels: seen.append(labels) or torch.zeros(()))
    record = run_cell(task(manifest, batch_size=150))
    _, labels = load_split(manifest, "train", "cpu")
    # Two warm-up steps, one for the last, smaller batch, then two epochs.
    assert [len(batch) for batch in seen] == [150, 150, 50] + [150, 150, 150, 50] * 2
    assert torch.equal(torch.cat(seen[3:7]), labels)
    assert record.training.steps_per_epoch == 4


def test_the_step_updates_every_parameter(manifest):
    network = build_network("lenet", dataset_of(manifest), 1)
    before = [weight.clone() for weight in network.parameters()]
    step = build_step(task(manifest), network, CpuDevice())
    images, labels = load_split(manifest, "train", "cpu")
    step(images[:100], labels[:100])
    assert all(not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True))


def test_the_record_is_valid_and_says_what_was_used(manifest, tmp_path):
    record = run_cell(task(manifest, memory_format="channels_last"), lock_wait_seconds=1.5)
    write_record(tmp_path / "run-1.json", record)
    assert read_record(tmp_path / "run-1.json") == record
    assert record.conditions.threads == 1
    assert record.conditions.lock_wait_seconds == 1.5
    assert record.dataset.synthetic is True
    assert record.training.parameters == 39_558
    assert record.timing.event_seconds is None
    assert record.machine.gpu is None
    assert record.timing.images_per_second == pytest.approx(1000 / sum(record.timing.epoch_seconds))


def test_the_network_learns(manifest):
    longer = dataclasses.replace(SHORT, max_epochs=40, min_epochs=40)
    record = run_cell(task(manifest, protocol=longer, batch_size=50))
    assert record.training.test_accuracy > 0.5
    assert record.training.epoch_losses[-1] < 1.0


def test_a_batch_larger_than_the_data_is_refused(manifest):
    with pytest.raises(BenchmarkError, match="batch_size 1000 .* does not fit 500 training images"):
        run_cell(task(manifest, batch_size=1000))


def test_a_gpu_cell_never_falls_back_to_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(BenchmarkError, match="cell 'g': torch sees 0 GPUs, it needs 1"):
        open_device(Cell("g", "gpu"))


class QueueingDevice(CpuDevice):
    """An accelerator that does its work only when it is waited for, and counts time by the work done."""

    def __init__(self):
        self.queued, self.clock = 0, 0.0

    def synchronize(self):
        self.clock += self.queued
        self.queued = 0

    def start(self):
        self.synchronize()
        self.began = self.clock

    def stop(self):
        self.synchronize()
        return Elapsed(self.clock - self.began, None)


def test_an_epoch_ends_when_its_work_is_done_and_not_when_it_is_queued():
    device = QueueingDevice()
    device.queued = 1000  # work from before the clock

    def step(images, labels):
        device.queued += 1
        return torch.tensor(0.5)

    epoch = partial(Step.epoch, SimpleNamespace(take=step))
    elapsed, loss = stopwatch.time_epoch(SimpleNamespace(epoch=epoch), [(None, None)] * 50, device)
    assert elapsed.wall_seconds == 50
    assert loss == 0.5


@pytest.mark.parametrize(
    ("seconds", "changes", "enough"),
    [
        ([1.0], {"min_epochs": 2}, False),
        ([1.0, 1.0], {"min_epochs": 2, "max_seconds": 2.0}, True),
        ([1.0, 1.0], {"min_epochs": 2, "max_seconds": 3.0}, False),
        ([1.0, 1.0, 1.0], {"max_seconds": 9.0}, True),
        ([1.0, 2.0, 3.0], {"max_seconds": 9.0}, False),
        ([0.1, 0.1, 0.1], {"min_seconds": 1.0}, False),
        ([1.0, 1.0, 1.0], {"min_steps": 100}, False),
        ([1.0, 2.0, 3.0], {"max_epochs": 3, "max_seconds": 9.0}, True),
        ([0.1] * 5, {"max_epochs": 5, "min_seconds": 1.0}, True),
    ],
)
def test_epochs_go_on_until_the_protocol_has_enough(seconds, changes, enough):
    rules = {"min_epochs": 2, "min_steps": 0, "min_seconds": 0.0, "max_seconds": 60.0, "precision": 0.01}
    assert stopping.enough(Protocol(**(rules | changes)), seconds, steps_per_epoch=10) is enough


def test_garbage_is_not_collected_inside_the_clock(manifest, monkeypatch):
    import gc

    states = []
    monkeypatch.setattr(Step, "__call__", lambda self, images, labels: states.append(gc.isenabled()) or torch.zeros(()))
    run_cell(task(manifest))
    assert states[:2] == [True, True]
    assert not any(states[2:])
    assert gc.isenabled()


def test_a_graph_leaves_no_trace_of_its_warm_up_steps(manifest):
    """The steps before a capture change weights and momenta; both are put back as they were."""
    network = build_network("lenet", dataset_of(manifest), 1)
    step = GraphStep(task(manifest), network, SimpleNamespace(torch_device=torch.device("cpu")))
    images, labels = load_split(manifest, "train", "cpu")
    before = step.state()
    Step.__call__(step, images[:100], labels[:100])
    step.restore(before)
    assert all(torch.equal(old, new) for old, new in zip(before, step._tensors(), strict=True))
    assert not any(velocity.any() for velocity in step.optimizer.moments)


class Capturing(CpuDevice):
    """A device whose graphs are functions: a replay runs what was captured, and writes its losses where they were."""

    def capture(self, step):
        step()  # as before a real capture
        captured = step()

        def replay():
            for (loss, _), (now, _) in zip(captured, step(), strict=True):
                loss.copy_(now)

        return replay, captured


def epoch_graph(manifest, protocol=SHORT, **cell):
    """Return an epoch of 150, 150, 150 and 50 images as one graph, and its batches."""
    made = task(manifest, protocol, device="gpu", execution="epoch_graph", batch_size=150, **cell)
    batches, _ = load_batches(made, Solo(), CpuDevice())
    return build_step(made, build_network("lenet", dataset_of(manifest), 1), Capturing()), batches


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_replayed_epoch_is_its_steps_one_by_one_and_counts_what_its_graph_holds(manifest, optimizer):
    protocol = dataclasses.replace(SHORT, optimizer=optimizer, learning_rate=0.001)
    step, batches = epoch_graph(manifest, protocol)
    before = step.state()
    assert step.ready(batches) == 0
    assert all(torch.equal(old, new) for old, new in zip(before, step._tensors(), strict=True))
    assert step.steps_taken == step.images_taken == 0
    losses = [float(step.epoch(batches)) for _ in range(2)]
    assert (step.steps_taken, step.images_taken) == (8, 1000)
    eager = build_step(task(manifest, protocol), build_network("lenet", dataset_of(manifest), 1), CpuDevice())
    assert losses == pytest.approx([float(eager.epoch(batches)) for _ in range(2)], rel=1e-4)
    for one, other in zip(step.network.parameters(), eager.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
    assert [float(counter) for counter in step.optimizer.counters] == [8.0] * len(step.optimizer.counters)


def run_on(device, monkeypatch, made):
    monkeypatch.setattr(measure, "open_device", lambda *_: device)
    return judged(run_cell(made))


def test_an_epoch_graph_passes_the_gates(manifest, monkeypatch):
    made = task(manifest, device="gpu", execution="epoch_graph", batch_size=150)
    record = run_on(Capturing(), monkeypatch, made)
    assert [finding.gate for finding in record.gates if finding.passed is False and finding.severity == HARD] == []
    assert record.limit.bound_by != "launches"


class Forgetting(Capturing):
    """A device whose captured epoch leaves the first batch out."""

    def capture(self, step):
        replay, captured = super().capture(step)
        return replay, captured[1:]


class Diverging(Capturing):
    """A device whose replay takes every step twice."""

    def capture(self, step):
        replay, captured = super().capture(step)
        return lambda: (replay(), replay()), captured


@pytest.mark.parametrize(("device", "gate"), [(Forgetting, "work done"), (Diverging, "same arithmetic")])
def test_an_epoch_graph_that_is_not_its_steps_fails_its_gate(manifest, monkeypatch, device, gate):
    made = task(manifest, device="gpu", execution="epoch_graph", batch_size=150)
    record = run_on(device(), monkeypatch, made)
    assert gate in {finding.gate for finding in record.gates if finding.passed is False}


@pytest.mark.parametrize(
    ("scaling", "batch_size", "rate"),
    [
        ("linear", 1000, 0.01),
        ("linear", 100, 0.001),
        ("linear", 10, 1e-4),
        ("linear", 10_000, 0.01),
        ("none", 10, 0.01),
    ],
)
def test_the_learning_rate_follows_the_batch_size_below_the_published_one(scaling, batch_size, rate):
    assert Protocol(rate_scaling=scaling).rate(batch_size) == pytest.approx(rate, rel=1e-12)


def test_the_scaled_rate_is_the_steps_the_records_and_the_references(manifest):
    scaled = dataclasses.replace(SHORT, rate_scaling="linear")
    made = run_cell(task(manifest, scaled))
    assert made.training.learning_rate == pytest.approx(0.001)
    network = build_network("lenet", dataset_of(manifest), 1)
    assert build_step(task(manifest, scaled), network, CpuDevice()).optimizer.rate == made.training.learning_rate
    assert made.evidence.update_deviation < 1e-3


def test_the_float64_reference_is_kept_for_its_own_settings_alone(manifest, monkeypatch):
    first = reference.reference_steps(task(manifest), 2)
    monkeypatch.setattr(reference, "_computed", lambda *_: pytest.fail("computed again"))
    again = reference.reference_steps(task(manifest, memory_format="channels_last"), 2)
    assert torch.equal(again.losses, first.losses)
    assert torch.equal(again.updates, first.updates)
    slower = dataclasses.replace(SHORT, learning_rate=0.005)
    for other in (task(manifest, batch_size=61), task(manifest, micro_batch=20), task(manifest, slower)):
        with pytest.raises(pytest.fail.Exception, match="computed again"):
            reference.reference_steps(other, 2)


def test_numbers_are_rounded_to_the_nearest_of_a_precision():
    values = torch.randn(1000, generator=torch.Generator().manual_seed(1)) * torch.logspace(-20, 20, 1000)
    values = torch.cat([values, torch.tensor([0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8])])
    assert torch.equal(rounding.nearest(values, 7), values.bfloat16().float())
    small = values[values.abs().lt(6e4) & (values.abs().gt(1e-4) | values.eq(0))]
    assert torch.equal(rounding.nearest(small, 10), small.half().float())


def test_rounding_a_step_is_what_autocast_does(manifest):
    """The deviation that is expected of bf16, whether or not this processor computes in it.

    Kernels differ in what they keep in float32: the two were 1.31 apart on an EPYC without bf16, and 1.0 elsewhere. An
    eighth of it is TF32's, and a thousandth fp32's.
    """
    right = reference.reference_steps(task(manifest), 2)
    expected = reference.expected(task(manifest), right, "bf16")
    images, labels = load_split(manifest, "train", "cpu", limit=100)
    network = build_network("lenet", dataset_of(manifest), SHORT.seed)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = functional.cross_entropy(network(images), labels)
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    update = -SHORT.learning_rate * torch.cat([gradient.flatten().double() for gradient in gradients])
    assert 0.5 < reference.distance(update, right.updates[0]) / expected.updates[0] < 2
