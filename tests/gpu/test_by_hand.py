"""The step written by hand on a real GPU: against float64, replayed and one by one, with its packed copies."""

from dataclasses import replace

import pytest
import torch
from gpu.card import LEARNING, ON_A_CARD, SHEET, SHORT, fired, measured
from torch.nn import functional
from unit.fused_truth import MOMENTUM, RATE, Truth, batch, error, fill_with_nan, published, worst

from epochbench.networks import lenet
from epochbench.timing.cell import Cell
from epochbench.timing.devices import open_device
from epochbench.timing.step import build_step
from epochbench.timing.task import Task

pytestmark = ON_A_CARD
BY_HAND = [cell for cell in SHEET if cell.layers == "fused"]
# Of bf16, over one step: sums are float32, operands are not, and now and then another of a few near-equal values is the
# largest, under torch's autocast as here.
TOLERANCE = 2e-2


def on_the_card(count, seed=0):
    return batch(count, seed, "cuda")


def autocast_gradients(network, images, labels):
    """What torch's own mixed precision finds."""
    with torch.autocast("cuda", torch.bfloat16):
        loss = functional.cross_entropy(network(images), labels)
    return torch.autograd.grad(loss, list(network.parameters()))


@pytest.mark.parametrize("count", [61, 1000])
def test_gradients_are_those_of_float64(count):
    network = published("cuda")
    truth, step = Truth(network), lenet.fused_step(network, RATE, MOMENTUM, max(count, 100))
    images, labels = on_the_card(count)
    others = autocast_gradients(network, images, labels)
    fill_with_nan(step)
    loss, expected = step.step(lenet.to_blocks(images), labels), truth.step(images, labels)
    assert error(loss, expected) < TOLERANCE / 2
    for found, other, gradient in zip(step.velocities, others, truth.gradients(), strict=True):
        assert error(found, gradient) < TOLERANCE + 1.5 * error(other, gradient)


def training(execution, counts=(1000, 1000, 1000, 307)):
    """Return our own Step in one way to execute, its batches, and the same training in float64."""
    network = published("cuda")
    cell = Cell("a", "gpu", precision="bf16", layers="fused", memory_format="blocks", execution=execution)
    step = build_step(Task(cell, 1, SHORT, "", 1), network, open_device(cell))
    plain = [on_the_card(count, seed) for seed, count in enumerate(counts)]
    return step, [(lenet.to_blocks(images), labels) for images, labels in plain], Truth(network), plain


def change(step, before):
    """How the weights have changed since, and those of float64 beside them."""
    return [now.detach() - then for now, then in zip(step.network.parameters(), before, strict=True)]


def test_ten_steps_train_as_float64_does_however_they_are_launched():
    found = {}
    for execution in ("eager", "cuda_graph", "epoch_graph"):
        step, batches, truth, plain = training(execution, counts=(1000,) * 9 + (307,))
        before = [weight.detach().clone() for weight in step.network.parameters()]
        assert step.ready(batches) == 0
        last = float(step.epoch(batches))
        expected = [truth.step(*one) for one in plain][-1]
        changes = change(step, before)
        assert error(torch.tensor(last), expected.cpu()) < TOLERANCE / 2
        moved = [weight - then for weight, then in zip(truth.weights(), before, strict=True)]
        assert worst(changes, moved) < 10 * TOLERANCE
        found[execution] = [weight.detach().clone() for weight in step.network.parameters()]
    for other in ("cuda_graph", "epoch_graph"):
        assert all(map(torch.equal, found["eager"], found[other])), other


def test_replays_are_the_steps_one_by_one_bit_for_bit_and_leave_no_trace_before_the_clock():
    step, batches, *_ = training("epoch_graph")
    before = [tensor.clone() for tensor in step._tensors()]
    assert step.ready(batches) == 0
    assert all(map(torch.equal, before, step._tensors()))
    twin, *_ = training("eager")
    for _ in range(20):
        assert torch.equal(step.epoch(batches), twin.epoch(batches))
    assert all(map(torch.equal, step._tensors(), twin._tensors()))
    assert (step.steps_taken, step.images_taken) == (twin.steps_taken, twin.images_taken) == (80, 20 * 3307)


def test_packed_copies_are_the_weights_after_many_replays():
    step, batches, *_ = training("epoch_graph")
    step.ready(batches)
    for _ in range(20):
        step.epoch(batches)
    written = [packed.clone() for packed in step.by_hand.packed]
    step.by_hand.refresh()
    assert all(map(torch.equal, written, step.by_hand.packed))


@pytest.mark.parametrize("cell", BY_HAND, ids=lambda cell: cell.cell)
def test_a_smaller_last_batch_is_trained_on(cell, manifest, no_calibration):
    made = measured(replace(cell, batch_size=150), manifest)
    assert fired(made) == set()
    assert (made.evidence.counted_steps, made.evidence.counted_images) == (12, 1500)


def test_a_thousand_steps_reach_the_accuracy_of_fp32(manifest, no_calibration):
    long = replace(LEARNING, min_epochs=200, max_epochs=200)
    exact = measured(Cell("gpu", "gpu", batch_size=100), manifest, long).training
    by_hand = measured(replace(BY_HAND[-1], batch_size=100), manifest, long).training
    assert by_hand.test_accuracy > exact.test_accuracy - 0.02
