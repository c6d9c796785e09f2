"""What Triton's interpreter finds of the hand-written step, as one line of JSON; test_fused starts it.

It is a process of its own, since the interpreter must be chosen before triton is imported, and other tests import it to
compile. It knows no products in bfloat16, so operands are float32 here.
"""

import json
import sys

import torch
from unit.fused_truth import MOMENTUM, RATE, Truth, batch, error, fill_with_nan, published, worst

from epochbench.errors import BenchmarkError
from epochbench.networks import _lenet_fused as fused
from epochbench.networks import lenet
from epochbench.timing.cell import Cell
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.protocol import Protocol
from epochbench.timing.step import build_step
from epochbench.timing.stopwatch import time_epoch
from epochbench.timing.task import Task

# It runs one program after the other: few of them, each with its whole share.
fused.PROGRAMS = dict.fromkeys(fused.PROGRAMS, 2)
fused.TUNING["update"]["PARTS"] = 2


def by_hand(network, rate=RATE, momentum=MOMENTUM, capacity=8):
    return fused.FusedStep(network, rate, momentum, capacity, torch.float32)


def to_blocks(images):
    return fused.to_blocks(images, torch.float32)


def one_step():
    """Errors of the loss, of the gradients, which are the velocities after a step from rest, and of the copies.

    Two images are grey: all their patches are alike, so that every maximum is a tie. Of the second convolution, ReLU
    lets one channel through nowhere; the last value is the largest gradient of that channel.
    """
    network = published()
    with torch.no_grad():
        network[3].bias[0] = -100
    truth, step = Truth(network), by_hand(network)
    fill_with_nan(step)
    images, labels = batch(5)
    images[:2] = 0.5
    loss, expected = step.step(to_blocks(images), labels), truth.step(images, labels)
    shut = float(step.velocities[2][0].abs().max())
    return [error(loss, expected), worst(step.velocities, truth.gradients()), wrong_copies(step), shut]


def wrong_copies(step):
    """How many values of the packed copies, which a step writes beside the weights, are not the weights'."""
    written = [packed.clone() for packed in step.packed]
    step.refresh()
    return sum(int((one != other).sum()) for one, other in zip(written, step.packed, strict=True))


class Capturing(CpuDevice):
    """A device whose graphs are lists: a capture notes the steps without taking them, as a GPU's does.

    Kernels that are interpreted compute in bf16 on any processor.
    """

    def computes_bf16(self):
        return True

    def capture(self, step):
        honest, noted = fused.FusedStep.step, []

        def note(step_by_hand, *inputs):
            noted.append((step_by_hand, inputs, torch.empty(())))
            return noted[-1][2]

        fused.FusedStep.step = note
        captured = step()
        fused.FusedStep.step = honest

        def replay():
            for step_by_hand, inputs, loss in noted:
                loss.copy_(step_by_hand.step(*inputs))

        return replay, captured


def epoch():
    """An epoch of two batches, the last smaller, as one graph through our own Step: what it counts, and its errors.

    The last tells whether it starts over, with the weights it began with, from the state it began with.
    """
    lenet.fused_step = by_hand
    network = published()
    truth = Truth(network)
    cell = Cell(
        "a", "gpu", precision="bf16", batch_size=4, layers="fused", memory_format="blocks", execution="epoch_graph"
    )
    step = build_step(Task(cell, 1, Protocol(), "", 1), network, Capturing())
    plain = [batch(4, 1), batch(2, 2)]
    batches = [(to_blocks(images), labels) for images, labels in plain]
    before = [tensor.clone() for tensor in step._tensors()]
    deviation = step.ready(batches)
    trace = sum(not torch.equal(one, other) for one, other in zip(before, step._tensors(), strict=True))
    _, last = time_epoch(step, batches, step.device)
    expected = [truth.step(*one) for one in plain][-1]
    counted = [step.steps_taken, step.images_taken]
    errors = [error(torch.tensor(last), expected), worst(network.parameters(), truth.weights())]
    copies = wrong_copies(step.by_hand)
    network.load_state_dict(published().state_dict())
    step.start_over()
    again = all(torch.equal(one, other) for one, other in zip(before, step._tensors(), strict=True))
    return [deviation, trace, counted, *errors, copies, again]


def refusals():
    """What is said of other networks, other images and too many of them."""
    network = published()
    step, said = by_hand(network, capacity=2), []
    for refused in (
        lambda: by_hand(network[:-1]),
        lambda: lenet.to_blocks(torch.zeros(2, 1, 28, 28)),
        lambda: step.step(to_blocks(batch(3)[0]), batch(3)[1]),
        lambda: by_hand(network.double()),
    ):
        try:
            refused()
        except BenchmarkError as error:
            said.append(str(error))
    return said


print(json.dumps({name: globals()[name]() for name in sys.argv[1:]}))
