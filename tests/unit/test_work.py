import math

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from unit.examples import BASE

from epochbench.timing.network import build_network
from epochbench.timing.work import count_work, flop_per_image

DATASET = BASE.dataset
PIXELS, FIRST, POOLED = math.prod(DATASET.image_shape), 16 * 28 * 28, 16 * 14 * 14


def values_of(name):
    """The values that each operator of a kind reads and writes for an image, in the order of the step."""
    return [operator.values for operator in count_work("lenet", DATASET) if operator.name == f"aten.{name}"]


def test_an_image_takes_the_published_arithmetic_forward_and_backward():
    # Two FLOP a multiplication and addition, by layer: outputs x kernel, and no gradient of the images.
    forward = 2 * (16 * 28 * 28 * 75 + 8 * 10 * 10 * 400 + 200 * 120 + 120 * 84 + 84 * 10)
    backward = 2 * forward - 2 * 16 * 28 * 28 * 75
    assert (forward, backward) == (2_591_440, 3_301_280)
    assert flop_per_image("lenet", DATASET) == forward + backward == 5_892_720


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_torch_counts_the_same_flop(name):
    with torch.device("meta"):
        network, images = build_network(name, DATASET, 1), torch.empty(2, *DATASET.image_shape)
    with FlopCounterMode(display=False) as counter:
        network(images).sum().backward()
    assert counter.get_total_flops() == 2 * flop_per_image(name, DATASET)


def test_values_move_once_in_and_once_out_of_every_operator():
    assert values_of("convolution")[0] == PIXELS + FIRST
    assert values_of("relu")[0] == 2 * FIRST
    assert values_of("max_pool2d_with_indices")[0] == FIRST + POOLED
    assert values_of("threshold_backward")[-1] == 3 * FIRST


def test_the_images_get_no_gradient():
    # Activations in, their gradient in; a layer further back, the gradient of its input goes out as well.
    assert values_of("convolution_backward") == [2 * POOLED + 8 * 10 * 10, PIXELS + FIRST]


def test_weights_are_counted_once_a_step_and_not_with_every_image():
    forward = [operator for operator in count_work("lenet", DATASET) if operator.name == "aten.convolution"]
    assert [operator.weights for operator in forward] == [1216, 3208]


def test_indices_of_the_maxima_move_too():
    pooling = [o for o in count_work("lenet", DATASET) if o.name == "aten.max_pool2d_with_indices"]
    assert pooling[0].other_bytes == POOLED * 8


def test_views_move_nothing():
    names = {operator.name for operator in count_work("lenet", DATASET)}
    assert not names & {"aten.view", "aten.t", "aten.detach", "aten.empty"}


def test_momentum_reads_three_and_writes_two_of_every_parameter():
    update = count_work("lenet", DATASET)[-1]
    assert (update.name, update.weights) == ("update", 5 * 39_558)


def test_a_network_with_shortcuts_and_normalisation_counts_itself():
    names = [operator.name for operator in count_work("resnet18", DATASET)]
    assert names.count("aten.native_batch_norm_backward") == 20
    assert names.count("aten.add_") >= 8
