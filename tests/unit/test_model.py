import pytest
import torch
from torch import nn

from epochbench.model import build_network, count_flop, count_parameters


def test_the_seed_network_has_the_published_parameters_layer_by_layer():
    network = build_network("lenet", seed=1)
    layers = [count_parameters(layer) for layer in network if count_parameters(layer)]
    assert layers == [1216, 3208, 24120, 10164, 850]
    assert count_parameters(network) == 39_558


def test_there_is_no_activation_between_the_dense_layers():
    kinds = [type(layer) for layer in build_network("lenet", seed=1)]
    assert kinds[kinds.index(nn.Flatten) :] == [nn.Flatten, nn.Linear, nn.Linear, nn.Linear]


def test_weights_are_glorot_uniform_and_biases_zero():
    network = build_network("lenet", seed=1)
    # Glorot and Bengio 2010: uniform within sqrt(6 / (fan in + fan out)), both times the kernel's area.
    for layer, fans in ((network[0], (3 + 16) * 25), (network[3], (16 + 8) * 25), (network[7], 200 + 120)):
        bound = (6 / fans) ** 0.5
        assert 0.9 * bound < layer.weight.abs().max() <= bound
        assert not layer.bias.any()


@pytest.mark.parametrize("name", ["lenet", "resnet18"])
def test_takes_images_and_gives_ten_logits(name):
    assert build_network(name, seed=1)(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_the_seed_decides_the_weights():
    first, again, other = (build_network("lenet", seed)[0].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_image_takes_the_published_arithmetic_forward_and_backward():
    # Two FLOP a multiplication and addition, by layer: outputs x kernel, and no gradient of the images.
    forward = 2 * (16 * 28 * 28 * 75 + 8 * 10 * 10 * 400 + 200 * 120 + 120 * 84 + 84 * 10)
    backward = 2 * forward - 2 * 16 * 28 * 28 * 75
    assert (forward, backward) == (2_591_440 - 0, 3_301_280)
    assert count_flop("lenet") == forward + backward
    assert count_flop("lenet") * 50_000 == pytest.approx(294.6e9, rel=1e-3)
