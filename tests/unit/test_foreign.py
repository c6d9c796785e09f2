"""Networks of torchvision's and of a user's own file: trained and judged, or refused in one line."""

import hashlib
import re
import subprocess
import sys
import textwrap
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from unit.examples import BASE, record

from epochbench import foreign
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.aggregate.baseline import is_comparable
from epochbench.errors import BenchmarkError
from epochbench.records import gates
from epochbench.records.store import read_record, write_record
from epochbench.shard.write import shard_archive
from epochbench.sheets import read_cells
from epochbench.timing import calibrate, evidence, reference, stopwatch
from epochbench.timing.bounds import MOST_LETTERS
from epochbench.timing.cell import Cell
from epochbench.timing.examine import hold_still
from epochbench.timing.network import build_network, examined
from epochbench.timing.optimizer import Momentum
from epochbench.timing.protocol import Protocol
from epochbench.timing.provenance import code_digest
from epochbench.timing.record import Network, Peaks
from epochbench.timing.rounding import Rounding
from epochbench.timing.run import run_cell
from epochbench.timing.step import Step
from epochbench.timing.task import Task
from epochbench.timing.work import flop_per_image

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)
# Batch normalisation, dropout, and a layer that nothing uses.
PLAIN = """
from torch import nn


def network(classes, shape):
    channels, height, width = shape
    made = nn.Sequential(
        nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(4 * (height // 2 - 1) * (width // 2 - 1), classes),
    )
    made[0].spare = nn.Linear(3, 3)
    return made
"""


@pytest.fixture(autouse=True)
def peaks(monkeypatch):
    """No peak is measured here: it is not what is tested, and takes the longest."""
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: Peaks({"fp32": 1e15, "bf16": 1e15}, 1e15, 1e15))


@pytest.fixture
def mine(tmp_path):
    """A function that writes a user's file, and returns the model's name."""

    def write(text=PLAIN, factory="network"):
        (tmp_path / "mine.py").write_text(textwrap.dedent(text))
        return f"{tmp_path}/mine.py:{factory}"

    return write


def measured(manifest, model, protocol=SHORT, **columns):
    cell = Cell(**{"cell": "a", "device": "cpu", "model": model, "batch_size": 100, "threads": 1} | columns)
    return gates.judged(run_cell(Task(cell, 1, protocol, manifest, threads=1)))


def judged(record):
    return {finding.gate: (finding.passed, finding.sentence) for finding in record.gates}


def fired(record):
    return {gate for gate, (passed, _) in judged(record).items() if passed is False} - {"quiet"}


def refused(manifest, model, **columns):
    with pytest.raises(BenchmarkError) as said:
        measured(manifest, model, **columns)
    assert "\n" not in str(said.value)
    return str(said.value)


def test_a_users_network_is_judged_right_in_words(manifest, mine, tmp_path):
    """Dropout, batch normalisation and a parameter that no gradient reaches are no alarm, and are told."""
    made = measured(manifest, mine(), memory_format="channels_last", micro_batch=50)
    assert fired(made) == set()
    said = judged(made)
    assert said["same arithmetic"][0] is True
    assert "Dropout and its like were off" in said["same arithmetic"][1]
    assert "every parameter moved but 0.spare.weight, 0.spare.bias, which no gradient reaches" in said["work done"][1]
    assert said["it learned"][0] is not False
    assert "running statistics that training left, 3 of them" in said["it learned"][1]
    digest = re.search(r"mine\.py: SHA-256 ([0-9a-f]{64})$", made.network.source)[1]
    assert hashlib.sha256((tmp_path / "mine.py").read_bytes()).hexdigest() == digest
    write_record(tmp_path / "run-1.json", made)
    assert read_record(tmp_path / "run-1.json") == made


def test_normalisation_alone_trains_on_in_the_steps_compared(mine):
    network = build_network(mine(), BASE.dataset, 1)
    hold_still(network)
    assert [type(module) for module in network.modules() if module.training] == [torch.nn.BatchNorm2d]


def rounded(self, images, labels):
    with Rounding(10, results=False):
        return honest_whole(self, images, labels)


def dropped(step, batches, device):
    return honest_epoch(step, batches[1:], device)


def with_nan(task, team, step, *rest):
    with torch.no_grad():
        next(step.network.parameters()).fill_(float("nan"))
    return honest_epochs(task, team, step, *rest)


honest_whole, honest_epoch, honest_epochs = Step._whole, stopwatch.time_epoch, stopwatch.time_epochs
SABOTAGE = {
    "dropped step": (stopwatch, "time_epoch", dropped, "work done"),
    "zero update": (Momentum, "_update", lambda self, *_, **__: None, "same arithmetic"),
    "TF32": (Step, "_whole", rounded, "same arithmetic"),
    "NaN": (stopwatch, "time_epochs", with_nan, "it learned"),
}


@pytest.mark.parametrize(("place", "name", "wrong", "gate"), SABOTAGE.values(), ids=SABOTAGE)
def test_sabotage_of_a_users_network_is_noticed(manifest, mine, monkeypatch, place, name, wrong, gate):
    monkeypatch.setattr(place, name, wrong)
    assert gate in fired(measured(manifest, mine(), batch_size=250))


def test_what_no_two_computations_agree_on_is_not_judged_by_them(manifest, mine):
    model = mine(PLAIN.replace("nn.Dropout(0.5)", "Noise()") + """

import torch


class Noise(nn.Module):
    def forward(self, values):
        return values + torch.randn_like(values)
""")  # fmt: skip
    made = measured(manifest, model)
    assert fired(made) == set()
    passed, sentence = judged(made)["same arithmetic"]
    assert passed is None
    assert "random numbers even where dropout is off" in sentence


LINEAR = """
from torch import nn


def network(classes, shape):
    return nn.Sequential(nn.Flatten(), nn.Linear(3072, 64), nn.Linear(64, classes))
"""


def test_a_batch_that_takes_more_memory_in_float64_than_there_is_is_not_computed_in_it(manifest, mine, monkeypatch):
    """Of an image, what is kept for the backward pass: here pixels, 64 values and 10 logits, not the weights."""
    model = mine(LINEAR)
    task = Task(Cell("a", "cpu", model), 1, SHORT, manifest, threads=1)
    assert examined(model, BASE.dataset).kept_bytes == pytest.approx(4 * (3072 + 64 + 10), abs=50)
    assert reference.why_not(task) is None
    monkeypatch.setattr(reference.psutil, "virtual_memory", lambda: SimpleNamespace(available=20e6))
    assert reference.why_not(task) == "a batch in float64 takes 0.025 GB, and 0.02 GB are free here"


def test_of_a_large_network_a_part_of_every_parameter_is_compared_in_the_first_step(mine, monkeypatch):
    network = build_network(mine(), BASE.dataset, 1)
    sizes = [parameter.numel() for parameter in network.parameters()]
    assert len(reference.weights(network)) == sum(sizes)
    assert evidence.steps_to_check(100, 10, sum(sizes)) == 2
    monkeypatch.setattr(reference, "COMPARED_WEIGHTS", 1000)
    every = sum(sizes) // 1000 + 1
    assert len(reference.weights(network)) == sum((size - 1) // every + 1 for size in sizes)
    assert evidence.steps_to_check(100, 10, sum(sizes)) == 1


TOKENS = """
import blocks
from torch import nn
from torch.nn import functional


def network(classes, shape):
    return blocks.Reader(classes), nn.CrossEntropyLoss(label_smoothing=0.1, reduction="none"), tokens


def tokens(images):
    return (images.flatten(1)[:, :16] * 255).long()
"""
BLOCKS = """
from torch import nn


class Reader(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.words = nn.Embedding(256, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.memory = nn.GRU(8, 8, 2, dropout=0.5, batch_first=True)
        self.last = nn.Linear(8, classes)

    def forward(self, tokens):
        return self.last(self.memory(self.attention(self.words(tokens)))[0].mean(1))
"""


def test_a_network_may_read_what_is_no_image_and_have_a_loss_of_its_own(manifest, mine, tmp_path):
    (tmp_path / "blocks.py").write_text(BLOCKS)
    model = mine(TOKENS)
    made = measured(manifest, model)
    assert fired(made) == set()
    assert judged(made)["same arithmetic"][0] is True
    assert made.network.own_loss is True
    # 16 tokens of 8 bytes and a label; of every weight what its update reads and writes.
    assert made.limit.compulsory_bytes_per_epoch == 500 * (16 * 8 + 8) + 5 * 4 * made.training.parameters
    before, others = code_digest(model), code_digest("lenet")
    code_digest.cache_clear()
    (tmp_path / "blocks.py").write_text(BLOCKS + "# changed\n")
    assert code_digest(model) != before
    assert code_digest("lenet") == others


def test_flop_are_torchs_own_count(manifest, mine, tmp_path):
    (tmp_path / "blocks.py").write_text(BLOCKS)
    assert_counted(mine(TOKENS), torch.zeros(4, 16, dtype=torch.int64))


@pytest.fixture(scope="module")
def few_images(tmp_path_factory):
    """The manifest beside the shards of 40 training and 8 test images."""
    folder = tmp_path_factory.mktemp("few")
    write_archive(folder / "few.tar.gz", Synthetic(images_per_batch=8, seed=7))
    source = {"name": "synthetic (seed 7)", "synthetic": True, "layout": "cifar10"}
    shard_archive(folder / "few.tar.gz", source, folder, shard_size=40)
    return str(folder / "manifest.json")


@pytest.mark.deep
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "vit_b_16"])
def test_torchvisions_classifiers_pass_every_hard_gate_and_count_torchs_flop(few_images, name):
    model = f"torchvision:{name}"
    assert_counted(model, torch.zeros(4, 3, 32, 32))
    made = measured(few_images, model, replace(SHORT, warmup_steps=1, max_epochs=1, min_epochs=1), batch_size=20)
    assert fired(made) == set()
    assert judged(made)["same arithmetic"][0] is True
    assert made.network.source.startswith("torchvision ")


def assert_counted(model, inputs):
    network = build_network(model, BASE.dataset, 1).train()
    with FlopCounterMode(display=False) as counter:
        network(inputs).sum().backward()
    assert counter.get_total_flops() / len(inputs) == pytest.approx(flop_per_image(model, BASE.dataset), rel=0.01)


def changed(old, new):
    assert old in PLAIN
    return PLAIN.replace(old, new)


OTHER_WEIGHTS = """

import itertools

calls, plain = itertools.count(), network


def network(classes, shape):
    made = plain(classes, shape)
    made[0].bias.data.fill_(next(calls))
    return made
"""
WRONG = {
    "raises": (
        changed("    channels, height", "    classes / 0\n    channels, height"),
        r"ZeroDivisionError: division by zero\); mend mine\.py, line 6",
    ),
    "ends": (changed("    return made", "    exit()"), r"SystemExit.*mend mine\.py, line 12"),
    "no module": (
        "def network(classes, shape):\n    return {}",
        r"returned a dict, not a torch\.nn\.Module\); mend .*, line 1",
    ),
    "other shapes": (
        changed("Conv2d(channels", "Conv2d(1"),
        r"RuntimeError: .*expected input.* to have 1 channels.*mine\.py, line 5",
    ),
    "other classes": (changed(", classes)", ", 7)"), r"returned float32 \[4, 7\], not logits, float \[4, 10\]"),
    "missing import": (
        "import no_such_module\n" + PLAIN,
        r"No module named 'no_such_module'\); mend mine\.py, line 1",
    ),
    "other weights": (PLAIN + OTHER_WEIGHTS, r"made other weights when called again \(0\.bias\)"),
    "mean loss": (changed("return made", "return made, nn.CrossEntropyLoss()"), r"its loss returned \[\] of 4 images"),
    "all frozen": (changed("return made", "return made.requires_grad_(False)"), r"does not require grad"),
}


@pytest.mark.fault("broken networks", "refused")
@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_a_factory_that_is_wrong_is_refused_in_one_line_with_its_place(manifest, mine, text, words):
    assert re.search(rf"^cell 'a': model .*mine\.py:network failed on images of shape \[3, 32, 32\] .*{words}",
                     refused(manifest, mine(text)))  # fmt: skip


SHEET = "cell\tdevice\tmodel\na\tcpu\t{}\n"
UNREADABLE = {
    "no file": (None, "network", r"there is no file '.*mine\.py', neither here nor in"),
    "no such factory": (PLAIN, "other", r"defines no 'other'; it defines network, nn"),
    "no Python": ("def network(:", "network", r"mine\.py: not readable as Python \(line 1: "),
}


@pytest.mark.fault("broken networks", "refused")
@pytest.mark.parametrize(("text", "factory", "words"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_reading_alone_tells_is_refused_with_the_sheet(mine, tmp_path, text, factory, words):
    model = mine(text, factory) if text else f"{tmp_path}/mine.py:{factory}"
    (tmp_path / "cells.tsv").write_text(SHEET.format(model))
    with pytest.raises(BenchmarkError, match=f"^cells.tsv, row 'a': .*{words}"):
        read_cells(tmp_path / "cells.tsv")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("torchvision:resnet999", r"torchvision [0-9.]+\S* has no such classifier"),
        ("torchvision:fcn_resnet50", "has no such classifier"),
        ("lenett", r"model 'lenett' is neither one of lenet, resnet18 nor torchvision:NAME, path/to/file\.py:factory"),
    ],
)
def test_a_network_that_nobody_has_is_refused_with_the_sheet(tmp_path, model, words):
    (tmp_path / "cells.tsv").write_text(SHEET.format(model))
    with pytest.raises(BenchmarkError, match=words):
        read_cells(tmp_path / "cells.tsv")


def test_a_sheet_is_read_and_a_file_hashed_without_running_it(mine, tmp_path):
    model = mine(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + PLAIN)
    (tmp_path / "cells.tsv").write_text(SHEET.format(model))
    assert [cell.model for cell in read_cells(tmp_path / "cells.tsv")] == [model]
    assert len(code_digest(model)) == 16
    assert not (tmp_path / "ran").exists()


def test_a_network_that_floods_the_console_fills_no_disk(manifest, mine, capfd):
    text = PLAIN.replace("    return made", "    for _ in range(20_000):\n        print('x' * 100)\n    return made")
    assert fired(measured(manifest, mine(text))) == set()
    said = capfd.readouterr().out
    assert len(said) < MOST_LETTERS + 100
    assert "the rest of what was printed is left out" in said


def test_files_of_one_name_are_no_one_network():
    """Of a user's file that changed, or of another's that is called the same, no ratio is formed."""

    def run(name, source):
        return record(name, model="mine.py:network", network=Network(source, "none", [], 0, False))

    assert is_comparable(run("gpu-a", "mine.py: SHA-256 ab"), run("cpu-a", "mine.py: SHA-256 ab"))
    assert not is_comparable(run("gpu-a", "mine.py: SHA-256 ab"), run("cpu-a", "mine.py: SHA-256 cd"))


def test_a_users_files_travel_to_a_job_that_has_none_of_them(mine, tmp_path, monkeypatch):
    (tmp_path / "blocks.py").write_text(BLOCKS)
    model = mine(TOKENS)
    digest = code_digest(model)
    foreign.pack([model], tmp_path / "networks.zip")
    (tmp_path / "mine.py").unlink()
    (tmp_path / "blocks.py").unlink()
    (tmp_path / "job").mkdir()
    monkeypatch.chdir(tmp_path / "job")
    assert not foreign.is_here(model)
    foreign.unpack(tmp_path / "networks.zip")
    code_digest.cache_clear()
    assert code_digest(model) == digest


ENDLESS = """
import runpy
from pathlib import Path
from epochbench.timing.bounds import bounded_output, ends_within
with bounded_output(), ends_within("cell 'a': model mine.py:network", [Path("{0}")], seconds=0.2):
    print("x" * 100_000)
    runpy.run_path("{0}")["network"](10, (3, 32, 32))
"""


@pytest.mark.fault("broken networks", "refused")
def test_a_factory_that_never_ends_ends_the_job_in_one_line_with_its_place(mine, tmp_path):
    mine("def network(classes, shape):\n    while True:\n        pass\n")
    command = [sys.executable, "-c", ENDLESS.format(tmp_path / "mine.py")]
    done = subprocess.run(
        command, env={"PYTHONPATH": "workflow/scripts"}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert re.fullmatch(
        r"error: cell 'a': model mine\.py:network had not ended after 0\.2 s; it stands at mine\.py, line [23]\n",
        done.stderr,
    )
