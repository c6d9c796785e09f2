"""The floor plan of the package: no circles, no climbing, no borrowed names; and what it takes to add to it."""

import ast
import graphlib
import hashlib
import importlib.util
import itertools
import json
import os
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from support import REPOSITORY

from epochbench.timing.provenance import BESIDE

SCRIPTS = REPOSITORY / "workflow" / "scripts"
PACKAGE = SCRIPTS / "epochbench"
# From the ground up; a module imports from its own floor and those before it.
FLOORS = (
    ("errors", "files", "documents", "schemas", "unseen"),
    ("stats", "wording", "images", "archive"),
    ("datasets",),
    ("acquire",),
    ("shard",),
    ("foreign", "networks"),
    ("timing",),
    ("columns",),
    ("records",),
    ("sheets", "config"),
    ("aggregate",),
    ("report",),
    ("console", "progress", "messages", "waiting", "cluster"),
)
FLOOR_OF = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules():
    """Return the name of each module, such as timing.step, and the modules of ours that it imports."""
    paths = {_name(path): path for path in PACKAGE.rglob("*.py")}
    return {name: _imported(ast.parse(path.read_text()), set(paths)) for name, path in paths.items()}


def _name(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def _imported(tree, known):
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "epochbench":
            base = node.module.removeprefix("epochbench").lstrip(".")
            names = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            imported |= (names & known) or {base}
    return imported - {""}


def test_no_module_imports_in_a_circle():
    graph = modules()
    order = list(graphlib.TopologicalSorter(graph).static_order())
    assert set(graph) <= set(order)


def test_no_module_imports_upwards():
    climbs = [
        f"{name} imports {other}"
        for name, imports in modules().items()
        for other in imports
        if name and FLOOR_OF[other.split(".")[0]] > FLOOR_OF[name.split(".")[0]]
    ]
    assert climbs == []


def _needed(source):
    """Yield the names that a script needs of our modules, in what it runs in other processes too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "epochbench":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            lines = (line for line in node.value.splitlines() if line.startswith("from epochbench"))
            yield from (need for line in lines for need in _needed(line))


@pytest.mark.parametrize("path", sorted((REPOSITORY / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_what_a_benchmark_imports_is_there(path):
    """They are run by hand, seldom, and some only where a GPU is lent."""
    for module, name in _needed(path.read_text()):
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.util.find_spec(f"{module}.{name}"), f"{module} has no {name}"


def test_no_module_has_the_name_of_one_of_the_standard_librarys():
    names = {path.stem for folder in (SCRIPTS, REPOSITORY / "tests") for path in folder.rglob("*.py")}
    assert sorted((names - {"__init__"}) & set(sys.stdlib_module_names)) == []


def test_a_private_name_stays_in_its_module():
    borrowed = [
        f"{path.name}: {alias.name}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("epochbench")
        for alias in node.names
        if alias.name.startswith("_")
    ]
    assert borrowed == []


def test_public_signatures_are_annotated():
    bare = []
    for path in PACKAGE.rglob("*.py"):
        for function in _public_functions(ast.parse(path.read_text())):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            missing = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
            if missing or (function.returns is None and function.name != "__init__"):
                bare.append(f"{_name(path)}.{function.name}: {', '.join(missing) or 'returns'}")
    assert bare == []


def _public_functions(tree):
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in itertools.chain(tree.body, *(kind.body for kind in classes)):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


@pytest.fixture
def house(tmp_path):
    """A copy of the package and its schemas, to be added to."""
    for folder in ("scripts", "schemas"):
        shutil.copytree(REPOSITORY / "workflow" / folder, tmp_path / "workflow" / folder)
    return tmp_path / "workflow" / "scripts" / "epochbench"


TRAIN = """
import sys
from epochbench.records.store import write_record
from epochbench.sheets import read_cells
from epochbench.timing.job import run_job
from epochbench.timing.protocol import Protocol
record = run_job(read_cells(sys.argv[1])[0], 1, Protocol(2, 1, 2, 0, 0.0, 9.0), sys.argv[2])
from epochbench.records.gates import judged
write_record(sys.argv[1] + ".json", judged(record))
print(record.machine.gpu.name if record.machine.gpu else "no GPU", record.training.parameters)
"""


def train(house, manifest, **columns):
    """Train a cell of a sheet with the added-to package, in a process of its own, and return what it printed."""
    done = try_to_train(house, manifest, **columns)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def try_to_train(house, manifest, **columns):
    """Do the same, whether or not it ends well, and return the process."""
    row = {"cell": "a", "device": "cpu", "batch_size": "100", "threads": "1"} | columns
    sheet = house.parents[1] / "cells.tsv"
    sheet.write_text("\t".join(row) + "\n" + "\t".join(row.values()) + "\n")
    command = [sys.executable, "-c", TRAIN, str(sheet), manifest]
    environment = os.environ | {"PYTHONPATH": str(house.parent)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def digest(house, model):
    """Return the code digest of a network's cells, as the added-to package counts it."""
    code = f"from epochbench.timing.provenance import code_digest; print(code_digest('{model}'))"
    environment = os.environ | {"PYTHONPATH": str(house.parent)}
    return subprocess.check_output([sys.executable, "-c", code], env=environment, text=True).strip()


def test_a_network_is_one_file_and_makes_nothing_else_stale(house, manifest):
    before = digest(house, "lenet")
    (house / "networks" / "linear.py").write_text(
        textwrap.dedent("""
        import math

        from torch import nn

        LAYERS = ("published",)
        MEMORY_FORMATS = ("contiguous",)


        def build(shape, classes, layers, memory_format):
            return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
        """)
    )
    assert train(house, manifest, model="linear") == f"no GPU {3072 * 10 + 10}"
    assert digest(house, "lenet") == before
    assert digest(house, "linear") != before


def test_a_network_without_a_matrix_product_has_no_counted_flop_and_is_not_judged_by_them(house, manifest):
    (house / "networks" / "scale.py").write_text(
        textwrap.dedent("""
        import torch
        from torch import nn

        LAYERS = ("published",)
        MEMORY_FORMATS = ("contiguous",)


        class Scale(nn.Module):
            def __init__(self, classes):
                super().__init__()
                self.scale = nn.Parameter(torch.linspace(-1, 1, classes))

            def forward(self, images):
                return images.mean((1, 2, 3))[:, None] * self.scale


        def build(shape, classes, layers, memory_format):
            return Scale(classes)
        """)
    )
    assert train(house, manifest, model="scale") == "no GPU 10"
    recorded = json.loads((house.parents[1] / "cells.tsv.json").read_text())
    assert recorded["limit"]["flop_per_epoch"] == 0
    judged = {gate["gate"]: (gate["passed"], gate["sentence"]) for gate in recorded["gates"]}
    assert judged["possible"] == (None, "No FLOP were counted.")


DATA_SET = '''
"""Grey images of a bar at one of five heights, in a NumPy archive."""

import numpy as np

from epochbench.datasets import File
from epochbench.images import Images, Splits

TITLE, FILES = "Bars", (File("http://127.0.0.1:9/bars.npz", "0" * 32),)


def read_archive(path):
    with np.load(path) as stored:
        train, test = (Images(stored[name], stored[name + "_labels"]) for name in ("train", "test"))
    return Splits(train, test, list("abcde"))
'''
ACQUIRE_AND_SHARD = """
import json, sys
from pathlib import Path
from epochbench.acquire.acquire import Wanted, acquire
from epochbench.config import resolve_config
from epochbench.shard.samples import draw_samples
from epochbench.shard.write import shard_archive
folder, archive, sha256, config = Path(sys.argv[1]), *sys.argv[2:]
dataset = resolve_config(json.loads(config))["dataset"]
wanted = Wanted(source=dataset["source"], archive=archive, sha256=sha256)
source = acquire(wanted, folder / "dataset.tar.gz")
shard_archive(folder / "dataset.tar.gz", source, folder, 1000)
draw_samples(folder / "manifest.json", folder / "samples.png")
"""


def bars(count, seed):
    """Return `count` grey images of 28 x 28 with a bar whose height is the label's, and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 5, count)
    images = random.integers(0, 64, (count, 1, 28, 28)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[0, 4 + 4 * label : 8 + 4 * label] += 128
    return images, labels


def test_a_data_set_is_one_file_and_its_value_in_the_config(house, tmp_path):
    (house / "datasets" / "bars.py").write_text(DATA_SET)
    (train_images, train_labels), (test_images, test_labels) = bars(500, 1), bars(100, 2)
    archive = tmp_path / "bars.npz"
    np.savez(archive, train=train_images, train_labels=train_labels, test=test_images, test_labels=test_labels)
    sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
    sheets = {name: str(REPOSITORY / "config" / f"{name}.tsv") for name in ("cells", "published")}
    config = sheets | {"dataset": {"source": "bars", "archive": str(archive), "sha256": sha256}}
    arguments = [str(tmp_path), str(archive), sha256, json.dumps(config)]
    environment = os.environ | {"PYTHONPATH": str(house.parent)}
    subprocess.run([sys.executable, "-c", ACQUIRE_AND_SHARD, *arguments], env=environment, check=True)
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")
    # One channel and 4 x 4 pixels before the first dense layer, and five classes after the last.
    parameters = (25 + 1) * 16 + (16 * 25 + 1) * 8 + (8 * 16 + 1) * 120 + (120 + 1) * 84 + (84 + 1) * 5
    assert train(house, str(tmp_path / "manifest.json")) == f"no GPU {parameters}"
    recorded = json.loads((house.parents[1] / "cells.tsv.json").read_text())
    assert (recorded["dataset"]["image_shape"], recorded["dataset"]["classes"]) == ([1, 28, 28], 5)
    assert all(gate["passed"] is not False for gate in recorded["gates"] if gate["severity"] == "hard")


def test_a_column_is_its_declaration_and_the_step_that_obeys_it(house, manifest):
    cell, step = house / "timing" / "cell.py", house / "timing" / "step.py"
    declaration = '    frozen: str = column("whether nothing is updated", "no", values=("no", "yes"))\n'
    before, property_, after = cell.read_text().partition("    @property\n    def captures_graph")
    cell.write_text(before.rstrip() + "\n" + declaration + "\n" + property_ + after)
    obeyed = step.read_text().replace(
        "        self.scaler.step(self.optimizer)\n",
        '        if self.frozen == "no":\n            self.scaler.step(self.optimizer)\n',
    )
    step.write_text(
        obeyed.replace(
            "        self.precision = cell.precision\n",
            "        self.precision = cell.precision\n        self.frozen = cell.frozen\n",
        )
    )
    record = house.parents[1] / "cells.tsv.json"
    train(house, manifest, frozen="yes")
    assert "Only 0% of the parameters changed" in record.read_text()
    train(house, manifest, frozen="no")
    assert "Only 0% of the parameters changed" not in record.read_text()


DEVICE = '''
"""A pretended accelerator: the processor under another name."""

from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.record import Gpu

SERVES = "gpu"
CARD = Gpu("Pretended 9000", 2**30, None, None)


def find():
    return (CARD,)


def prepare(environment):
    pass


def open_device(cell, index=0):
    return Pretended()


class Pretended(CpuDevice):
    def gpu(self):
        return CARD

    def tf32_allowed(self):
        return False
'''


def test_a_kind_of_device_is_one_file(house, manifest):
    (house / "timing" / "devices" / "pretended.py").write_text(DEVICE)
    assert train(house, manifest, device="gpu") == "Pretended 9000 39558"


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"execution": "cuda_graph"}, "execution cuda_graph, but a device of kind pretended cannot capture a graph"),
        ({"precision": "fp16"}, "precision fp16, but a device of kind pretended has fp32, bf16"),
    ],
)
def test_a_kind_of_device_is_asked_for_no_more_than_it_has(house, manifest, columns, words):
    (house / "timing" / "devices" / "pretended.py").write_text(DEVICE)
    done = try_to_train(house, manifest, device="gpu", **columns)
    assert f"BenchmarkError: cell 'a': {words}" in done.stderr


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("timing/stopping.py", "CONFIDENCE = 0.95", "CONFIDENCE = 0.9"),
        ("timing/machine/host.py", "return max(1, min(", "return max(2, min("),
        ("timing/optimizer.py", "fused=self.fused or None", "fused=None"),
        ("timing/job.py", "threads = prepare(cell)", "threads = 2 * prepare(cell)"),
        ("networks/__init__.py", '("published",)', '("quick",)'),
        ("shard/manifest.py", "THREADS = 4", "THREADS = 1"),
        ("documents.py", "from_dict(kind, value)", "from_dict(kind, value | {})"),
    ],
)
def test_what_decides_a_timing_makes_every_record_stale(house, module, old, new):
    before = digest(house, "lenet"), digest(house, "resnet18")
    text = (house / module).read_text()
    assert old in text
    (house / module).write_text(text.replace(old, new))
    after = digest(house, "lenet"), digest(house, "resnet18")
    assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("module", ["records/gates.py", "report/page.py", "aggregate/aggregate.py", "wording.py"])
def test_what_only_tells_of_a_timing_makes_none_stale(house, module):
    before = digest(house, "lenet")
    with (house / module).open("a") as file:
        file.write("# changed\n")
    assert digest(house, "lenet") == before


# What timing/ reaches outside its folder without hashing it, and why that decides no number.
EXCUSED = {
    "errors": "one class, and how a message is shortened",
    "files": "files written whole; a checksum decides whether there is a number, not which",
    "schemas": "the words of a refusal",
}


def test_what_timing_reaches_outside_its_folder_is_hashed_or_excused():
    graph, reached = modules(), set()
    waiting = {name for name in graph if name.split(".")[0] == "timing"}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        waiting |= graph[name] - reached
    outside = {name for name in reached if name.split(".")[0] != "timing"}
    hashed = {_name(PACKAGE / path) for path in BESIDE}
    # A package that holds nothing but its docstring.
    empty = {name for name in outside if len(ast.parse(source_of(name)).body) <= 1}
    assert outside - empty == hashed | set(EXCUSED)


def source_of(name):
    path = PACKAGE.joinpath(*name.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()


def test_a_networks_helper_makes_its_own_cells_stale(house):
    helper = house / "networks" / "_blocks.py"
    helper.write_text("WIDTH = 1\n")
    for name, text in {"wide": "from epochbench.networks._blocks import WIDTH", "narrow": ""}.items():
        (house / "networks" / f"{name}.py").write_text(text)
    before = digest(house, "wide"), digest(house, "narrow")
    helper.write_text("WIDTH = 2\n")
    assert digest(house, "wide") != before[0]
    assert digest(house, "narrow") == before[1]


def test_a_networks_file_makes_its_own_cells_stale(house):
    before = digest(house, "lenet"), digest(house, "resnet18")
    with (house / "networks" / "resnet18.py").open("a") as file:
        file.write("# changed\n")
    assert digest(house, "lenet") == before[0]
    assert digest(house, "resnet18") != before[1]
