import pytest
import torch
from torch import nn
from torch.nn import functional
from unit.examples import BASE

from epochbench.timing import network as networks
from epochbench.timing.network import count_parameters


def build_network(name, seed, *way):
    return networks.build_network(name, BASE.dataset, seed, *way)


def test_the_published_network_has_the_published_parameters_layer_by_layer():
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


@pytest.mark.parametrize(
    ("layers", "memory_format"),
    [
        ("published", "channels_last"),
        ("published", "onednn"),
        ("pool_first", "contiguous"),
        ("pool_first", "channels_last"),
        ("pool_first", "onednn"),
        ("space_to_depth", "contiguous"),
        ("space_to_depth", "channels_last"),
    ],
)
def test_every_way_to_compute_the_layers_has_the_same_losses_and_gradients(layers, memory_format):
    def gradients(*way):
        network = build_network("lenet", 3, *way)
        loss = functional.cross_entropy(network(images), labels)
        loss.backward()
        return loss.item(), [parameter.grad.contiguous() for parameter in network.parameters()]

    torch.manual_seed(1)
    images, labels = torch.rand(20, 3, 32, 32), torch.randint(0, 10, (20,))
    loss, expected = gradients()
    other_loss, others = gradients(layers, memory_format)
    assert other_loss == pytest.approx(loss, rel=1e-5)
    for one, other in zip(others, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
