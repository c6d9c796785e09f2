"""Networks of every kind: partly frozen, unused in part, made for other images. Each trains, or is refused plainly."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from torch import nn
from torch.nn import functional

from epochbench import networks
from epochbench.errors import BenchmarkError
from epochbench.records.gates import findings
from epochbench.timing import evidence
from epochbench.timing.cell import Cell
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import FirstStep
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)


class TwoLayers(nn.Module):
    """A network of which a part is frozen, and another unused, as asked."""

    def __init__(self, frozen=False, unused=False, all_frozen=False, inputs=3072):
        super().__init__()
        self.first, self.second, self.unused = nn.Linear(inputs, 8), nn.Linear(8, 10), unused
        self.first.requires_grad_(not (frozen or all_frozen))
        self.second.requires_grad_(not all_frozen)

    def forward(self, images):
        hidden = self.first(images.flatten(1))
        return functional.pad(hidden, (0, 2)) if self.unused else self.second(hidden)


@pytest.fixture
def train(manifest, monkeypatch, tmp_path):
    """A function that trains a network for a few steps, whichever way, on shards of its own."""
    # The float64 reference is kept beside the shards under the network's name, which other tests use too.
    shutil.copytree(Path(manifest).parent, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("reference-*"))
    shards = str(tmp_path / "manifest.json")

    def run(build, **columns):
        monkeypatch.setattr(networks, "load", lambda name: SimpleNamespace(build=build))
        cell = Cell(**{"cell": "a", "device": "cpu", "batch_size": 100, "threads": 1} | columns)
        return run_cell(Task(cell, 1, SHORT, shards, threads=1))

    return run


@pytest.mark.parametrize("way", [{}, {"micro_batch": 50}])
def test_a_frozen_layer_stays_as_it_is_and_is_not_missed(train, way):
    made = train(lambda *_: TwoLayers(frozen=True), **way)
    judged = {finding.gate: finding.passed for finding in findings(made)}
    assert made.training.parameters == 90
    assert made.evidence.parameters_moved == 1
    assert made.evidence.update_deviation < 1e-3
    assert judged["work done"] is True


def test_a_layer_that_no_gradient_reaches_stays_as_it_is_and_is_named(train):
    made = train(lambda *_: TwoLayers(unused=True))
    judged = {finding.gate: (finding.passed, finding.sentence) for finding in findings(made)}
    assert made.evidence.update_deviation < 1e-3
    assert judged["work done"][0] is True
    assert "but second.weight, second.bias, which no gradient reaches" in judged["work done"][1]


@pytest.mark.fault("broken networks", "refused")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"all_frozen": True}, "does not require grad"),
        ({"inputs": 784}, "mat1 and mat2 shapes cannot be multiplied"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused_in_one_line(train, changes, words):
    with pytest.raises(BenchmarkError, match=rf"cell 'a': model lenet failed on images of shape .*32.*{words}") as said:
        train(lambda *_: TwoLayers(**changes))
    assert "\n" not in str(said.value)


@pytest.mark.fault("broken networks", "refused")
def test_a_network_that_cannot_be_built_is_refused_in_one_line(train):
    with pytest.raises(BenchmarkError, match=r"cell 'a': model lenet failed on images of shape \[3, 32, 32\] \(.*-8"):
        train(lambda *_: nn.Linear(-8, 10))


@pytest.mark.parametrize("place", [0, 1])
def test_a_loss_that_is_no_number_has_no_deviation_wherever_it_stands(place):
    losses = [1e-9, 1e-9]
    losses[place] = evidence.finite(float("nan"))
    steps = [FirstStep(loss, 1e-9, 1e-9, 1e-9, 1e-9) for loss in losses]
    assert evidence.deviations(steps) == {"loss_deviation": None, "update_deviation": 1e-9}
