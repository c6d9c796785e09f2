"""The step written by hand, on a CPU through Triton's interpreter; tests/gpu runs it on a card."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from support import REPOSITORY

from epochbench.errors import BenchmarkError
from epochbench.networks import lenet
from epochbench.timing.network import arranged

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="torch comes without Triton here")


def interpreted(check):
    """Return what a check of fused_interpreted.py finds."""
    script = Path(__file__).with_name("fused_interpreted.py")
    folders = os.pathsep.join(str(REPOSITORY / folder) for folder in ("workflow/scripts", "tests"))
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": folders}
    done = subprocess.run(
        [sys.executable, str(script), check], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[check]


@needs_triton
@pytest.mark.slow
def test_a_step_by_hand_trains_as_float64_does_where_maxima_tie_and_relu_lets_nothing_through_too():
    loss, gradients, wrong_copies, shut = interpreted("one_step")
    assert loss < 1e-5
    assert gradients < 1e-5
    assert wrong_copies == 0
    assert shut == 0


@needs_triton
@pytest.mark.slow
@pytest.mark.deep
def test_a_replayed_epoch_by_hand_counts_its_images_leaves_no_trace_and_trains_as_float64_does():
    deviation, trace, counted, loss, weights, wrong_copies, starts_over = interpreted("epoch")
    assert (deviation, trace, counted) == (0, 0, [2, 6])
    assert loss < 1e-5
    assert weights < 1e-5
    assert wrong_copies == 0
    assert starts_over is True


@needs_triton
def test_other_networks_images_and_batches_are_refused_in_plain_words():
    whose = "layers fused are for the published network on images of 3x32x32 and ten classes; here "
    said = interpreted("refusals")
    assert all(line.startswith(whose) for line in said)
    assert [line.removeprefix(whose).split(" ")[0] for line in said] == ["layers", "images", "there", "parameters"]


def test_without_triton_the_layers_are_refused_in_plain_words(monkeypatch):
    monkeypatch.setitem(sys.modules, "epochbench.networks._lenet_fused", None)
    with pytest.raises(BenchmarkError, match="layers fused are written in Triton, which cannot be imported here"):
        lenet.fused_step(None, 0.01, 0.9, 8)
    with pytest.raises(BenchmarkError, match="elsewhere choose other layers"):
        arranged(None, "lenet", None, "blocks")


@needs_triton
def test_blocks_hold_the_pixels_row_by_row_with_a_one_behind_each():
    import torch

    images = torch.arange(3 * 32 * 32).reshape(1, 3, 32, 32).float() / 4096
    blocks = arranged(images, "lenet", None, "blocks")
    assert (blocks.dtype, blocks.shape) == (torch.bfloat16, (1, 16, 16, 16))
    block = blocks[0, 3, 5].reshape(2, 2, 4)
    assert torch.equal(block[..., :3], images[0, :, 6:8, 10:12].permute(1, 2, 0).bfloat16())
    assert (block[..., 3] == 1).all()
