import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from epochbench.model import build_network
from epochbench.work import count_work, flop_per_image


def test_an_image_takes_the_published_arithmetic_forward_and_backward():
    # Two FLOP a multiplication and addition, by layer: outputs x kernel, and no gradient of the images.
    forward = 2 * (16 * 28 * 28 * 75 + 8 * 10 * 10 * 400 + 200 * 120 + 120 * 84 + 84 * 10)
    backward = 2 * forward - 2 * 16 * 28 * 28 * 75
    assert (forward, backward) == (2_591_440, 3_301_280)
    assert flop_per_image("lenet") == forward + backward
    assert flop_per_image("lenet") * 50_000 == pytest.approx(294.6e9, rel=1e-3)


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_torch_counts_the_same_flop(name):
    with torch.device("meta"):
        network, images = build_network(name, 1), torch.empty(2, 3, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    assert counter.get_total_flops() == 2 * flop_per_image(name)


def test_values_move_once_in_and_once_out_of_every_operator():
    pixels, first, pooled = 3 * 32 * 32, 16 * 28 * 28, 16 * 14 * 14
    names = [(operator.name, operator.values) for operator in count_work("lenet")]
    assert ("Conv2d forward", pixels + first) in names
    assert ("ReLU gradient", 3 * first) in names
    assert ("MaxPool2d gradient", 2 * first + pooled) in names
    assert ("Conv2d input gradient", pooled + 8 * 10 * 10) in names
    assert ("Conv2d input gradient", pixels + first) not in names


def test_momentum_reads_three_and_writes_two_of_every_parameter():
    update = count_work("lenet")[-1]
    assert (update.name, update.weights) == ("update", 5 * 39_558)


def test_a_residual_network_counts_its_shortcuts_and_normalisations():
    names = [operator.name for operator in count_work("resnet18")]
    assert names.count("shortcut forward") == 8
    assert names.count("BatchNorm2d gradient") == 20
