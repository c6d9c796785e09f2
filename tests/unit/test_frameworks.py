"""Other frameworks as cells: one more is one file, what breaks it is noticed, and none needs torch in its process."""

import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import REPOSITORY

from epochbench.columns import contradictions
from epochbench.errors import BenchmarkError
from epochbench.timing import frameworks
from epochbench.timing.cell import Cell
from epochbench.timing.devices import accelerators
from epochbench.timing.frameworks import client, jax, worker
from epochbench.timing.frameworks.environments import interpreter_of
from epochbench.timing.protocol import Protocol
from epochbench.timing.task import Task

# What is trained for several of these tests is trained once.
pytestmark = pytest.mark.xdist_group("frameworks")

NUMPY = (Path(__file__).parent / "numpy_training.py").read_text()
SGD = "self.momenta[place] = self.momentum * self.momenta[place] + gradient"
TRAIN = "        loss, gradients = self.gradients(*self.batches[number])\n"
ROUNDED = """def product(left, right):
    def rounded(values):
        whole = np.ascontiguousarray(values, np.float32).view(np.int32)
        return ((whole + (1 << {dropped} - 1)) & -(1 << {dropped})).view(np.float32)

    return rounded(left) @ rounded(right)
"""
PLAIN_PRODUCT = "def product(left, right):\n    return left @ right\n"
SKIPPED = TRAIN + "        if number == {number}:\n            return loss\n"
# By the framework's name: what is broken in it, and the gate that must notice.
SABOTAGE = {
    "dropped-step": (TRAIN, SKIPPED.format(number=2), "same arithmetic"),
    "dropped-last-step": (TRAIN, SKIPPED.format(number=4), "same arithmetic"),
    "no-waiting": ("        self.queue.submit(lambda: None).result()\n", "        pass\n", "synchronised"),
    "tf32-in-fp32": (PLAIN_PRODUCT, ROUNDED.format(dropped=13), "same arithmetic"),
    "bf16-in-fp32": (PLAIN_PRODUCT, ROUNDED.format(dropped=16), "same arithmetic"),
    "wrong-rate": ("np.float32(self.rate)", "np.float32(1.02 * self.rate)", "same arithmetic"),
    "no-momentum": (SGD, "self.momenta[place] = gradient", "same arithmetic"),
    "another-batch": ("(*self.batches[number])", "(*self.batches[number - 1])", "same arithmetic"),
}
# Steps before the timed epochs: three to warm up, five of the epoch that is looked at before.
BEFORE = 8
LATER = """    def train(self, number):
        self.taken = getattr(self, "taken", 0) + 1
        later = self.taken > {before}
        images, labels = self.batches[number]
"""
HALVED = "        images, labels = (images[::2], labels[::2]) if later else (images, labels)\n"
TRAINED = "        loss, gradients = self.gradients(images, labels)\n"
LATE = {
    "later-half-of-a-batch": LATER + HALVED + TRAINED,
    "later-no-steps": LATER + "        if later and number:\n            return 1.0\n" + TRAINED,
    "later-no-momentum": LATER + TRAINED + "        self.momentum = 0 if later else self.momentum\n",
}
for name, how in LATE.items():
    # From the timed epochs on, and from the second of them on, as it were for good.
    for when, before in (("", BEFORE), ("-still", BEFORE + 5)):
        SABOTAGE[name + when] = ("    def train(self, number):\n" + TRAIN, how.format(before=before), "same arithmetic")
# An epoch at once that forgets a step.
AT_ONCE = """    def epoch(self):
        return [self.step(number) for number in range(len(self.batches))][1:]

    def read(self, losses):
        return np.float64([each.result() for each in losses] if isinstance(losses, list) else losses.result())
"""
HONEST_READ = "    def read(self, losses):\n        return np.float64(losses.result())\n"
SABOTAGE["forgotten-step"] = (HONEST_READ, AT_ONCE, "work done")
RUN = """
import json, sys
from epochbench.documents import to_dict
from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare
from epochbench.timing.protocol import Protocol
threads = prepare(Cell("a", "cpu", threads=1))
from epochbench.records.gates import judged
from epochbench.records.store import read_record, write_record
from epochbench.timing import calibrate
from epochbench.timing.record import Peaks
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task
# No peak is measured here: beside other tests it would be too low, and a right epoch faster than it allows.
calibrate.calibrate = lambda *_: Peaks({"fp32": 1e15, "bf16": 1e15}, 1e15, 1e15)
found = {}
for row, epochs in json.loads(sys.argv[2]):
    protocol = Protocol(warmup_steps=3, min_epochs=epochs, max_epochs=epochs, min_steps=0, min_seconds=0.0)
    cell = Cell(**{"cell": "a", "device": "cpu", "batch_size": 100, "threads": 1} | row)
    try:
        record = judged(run_cell(Task(cell, 1, protocol, sys.argv[1], threads)))
        write_record("run-1.json", record)
        found[cell.framework] = to_dict(read_record("run-1.json"))
    except BenchmarkError as error:
        found[cell.framework] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of the package and its schemas, to be added to."""
    folder = tmp_path_factory.mktemp("house")
    for name in ("scripts", "schemas"):
        shutil.copytree(REPOSITORY / "workflow" / name, folder / "workflow" / name)
    return folder / "workflow" / "scripts" / "epochbench"


def add(house, name, text):
    """Add a framework to the copy: one file."""
    (house / "timing" / "frameworks" / f"{name.replace('-', '_')}.py").write_text(text)


def train(house, manifest, rows, **environment):
    """Train rows of a sheet, each with a number of epochs; return each framework's record, or what was refused."""
    path = {"PYTHONPATH": str(house.parent)}
    command = [sys.executable, "-c", RUN, manifest, json.dumps(rows)]
    folder = house.parents[2]
    done = subprocess.run(
        command, env=os.environ | path | environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def fired(record):
    """Return the gates that fired; quiet depends on the machine under the tests, and is proved by itself."""
    assert isinstance(record, dict), record
    return {gate["gate"] for gate in record["gates"] if gate["passed"] is False} - {"quiet"}


def broken(text, old, new):
    assert old in text
    return text.replace(old, new)


@pytest.fixture(scope="module")
def records(house, manifest):
    """The records of NumPy as a framework, honest and in every way broken, trained one after the other."""
    add(house, "numpy-honest", NUMPY)
    for name, (old, new, _) in SABOTAGE.items():
        add(house, name, broken(NUMPY, old, new))
    rows = [({"framework": "numpy-honest"}, 25), *(({"framework": name}, 2) for name in SABOTAGE)]
    return train(house, manifest, rows)


def test_one_more_framework_is_one_file_and_passes_every_gate(records):
    record = records["numpy-honest"]
    assert fired(record) == set()
    judged = {gate["gate"]: gate["passed"] for gate in record["gates"]}
    assert (judged["it learned"], judged["synchronised"], judged["same arithmetic"]) == (True, True, True)
    assert record["evidence"]["first_epoch"]["steps"] == 5
    assert {"numpy", "Python"} <= set(record["stack"]["facts"])
    assert not {"torch", "JAX_PLATFORMS"} & set(record["stack"]["facts"])


@pytest.mark.parametrize(("name", "gate"), [(name, gate) for name, (_, _, gate) in SABOTAGE.items()])
def test_sabotage_in_another_framework_is_noticed(records, name, gate):
    assert gate in fired(records[name])


def test_results_that_come_after_the_clock_are_told(records):
    said = {gate["gate"]: gate["sentence"] for gate in records["no-waiting"]["gates"]}["synchronised"]
    assert "after its clock had stopped" in said
    assert records["numpy-honest"]["evidence"]["late_seconds"] < records["no-waiting"]["evidence"]["late_seconds"]


STEP = "    def step(self, number):\n"
FAILURES = {
    "out-of-memory": (STEP, f"{STEP}        raise MemoryError\n"),
    "dies": (STEP, f"{STEP}        import os; os.kill(os.getpid(), 9)\n"),
    "too-old": ('"numpy": "1.26"', '"numpy": "99.1"'),
    "missing": ('{"numpy": "1.26"}', '{"no-such-package": "1"}'),
    "buggy": (STEP, f"{STEP}        1 / 0\n"),
    "forgetful": ("zip(self.names, self.now, strict=True)", "zip(self.names[:-1], self.now)"),
}
WORDS = {
    "out-of-memory": "cell 'a': out of memory in framework out-of-memory with batch_size 100 (MemoryError: ",
    "dies": "was ended by SIGKILL; perhaps the memory was full",
    "too-old": "is too old, it needs 99.1 or later",
    "missing": "cell 'a': framework missing is not installed",
    "buggy": "cell 'a': framework buggy failed (ZeroDivisionError: division by zero)",
    "forgetful": "cell 'a': framework forgetful gives back weight '9.bias' in shape none, and was given (10,); mend",
}


@pytest.fixture(scope="module")
def refusals(house, manifest):
    """What is said of frameworks that fail, each after the other in one process."""
    for name, (old, new) in FAILURES.items():
        add(house, name, broken(NUMPY, old, new))
    return train(house, manifest, [({"framework": name}, 1) for name in FAILURES])


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize("name", FAILURES)
def test_a_framework_that_fails_says_so_in_one_line_and_the_next_goes_on(refusals, name):
    assert WORDS[name] in refusals[name]
    assert "\n" not in refusals[name]


@pytest.mark.fault("hardware", "refused")
def test_an_interpreter_that_cannot_be_started_is_named(house, manifest, tmp_path):
    add(house, "numpy-honest", NUMPY)
    interpreter = tmp_path / "numpy-honest" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text("no program")
    interpreter.chmod(0o755)
    said = train(house, manifest, [({"framework": "numpy-honest"}, 1)], EPOCHBENCH_FRAMEWORKS=str(tmp_path))
    assert f"cell 'a': {interpreter}, the interpreter of framework numpy-honest, cannot be" in said["numpy-honest"]


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize("printed", ["Loading modules ...", "7"])
def test_an_interpreter_that_prints_of_its_own_is_named(house, manifest, tmp_path, printed):
    """So may do a script that starts one, or a program that is no Python."""
    add(house, "numpy-honest", NUMPY)
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\necho '{printed}'\n")
    script.chmod(0o755)
    rows = [({"framework": "numpy-honest"}, 1)]
    said = train(house, manifest, rows, EPOCHBENCH_FRAMEWORK_NUMPY_HONEST=str(script))["numpy-honest"]
    assert said.startswith(f"cell 'a': {script}, the interpreter of framework numpy-honest, answers '{printed}")
    assert "\n" not in said


def test_a_frameworks_process_imports_nothing_that_lies_where_this_is_typed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client, "needed_interpreter", lambda _: Path(sys.executable))
    monkeypatch.setattr(client, "_paths", lambda _: [str(client.SCRIPTS)])
    (tmp_path / "tqdm.py").write_text("raise SystemExit('the wrong one')")
    task = Task(Cell("a", "cpu", framework="jax", execution="compile"), 1, Protocol(), "no/manifest.json", 1)
    with client.started(task) as process, pytest.raises(BenchmarkError, match=r"no/manifest\.json"):
        process.ask("open")


def test_a_frameworks_record_shows_the_variables_that_torchs_shows(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    session = worker.Session(None)
    session.trainer = SimpleNamespace(weights=dict, threads=lambda: 1)
    session.device = SimpleNamespace(flags=dict, tf32_allowed=lambda: None)
    assert session.finish(str(tmp_path / "kept"))["environment"]["CUDA_VISIBLE_DEVICES"] == "3"


WITHOUT_TORCH = """
import sys

class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "scipy", "jsonschema", "pandas"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from epochbench.timing.frameworks import worker
"""


def test_a_frameworks_process_needs_no_torch(house, manifest, tmp_path):
    add(house, "numpy-honest", NUMPY)
    code = WITHOUT_TORCH + textwrap.dedent("""
    import json
    from pathlib import Path
    import numpy as np
    from safetensors.numpy import save_file
    from epochbench.timing.cell import Cell
    from epochbench.timing.protocol import Protocol
    from epochbench.timing.task import Task
    protocol = Protocol(warmup_steps=1, min_epochs=1, max_epochs=1, min_steps=0, min_seconds=0.0)
    cell = Cell("a", "cpu", framework="numpy-honest", batch_size=250)
    session = worker.Session(Task(cell, 1, protocol, sys.argv[1], 1))
    session.open()
    shapes = [(16, 3, 5, 5), (16,), (8, 16, 5, 5), (8,), (120, 200), (120,), (84, 120), (84,), (10, 84), (10,)]
    random = np.random.default_rng(0)
    weights = {f"w{n}": 0.1 * random.standard_normal(shape, np.float32) for n, shape in enumerate(shapes)}
    path = f"{sys.argv[2]}/first.safetensors"
    save_file(weights, path)
    session.load(list(weights))
    session.warm_up(path, 1, sys.argv[2])
    session.whole_epoch(path, f"{sys.argv[2]}/epoch.safetensors")
    timed = session.time_epochs(path, [])
    session.finish(f"{sys.argv[2]}/last.safetensors")
    print(json.dumps(timed["steps"]), "torch" in sys.modules)
    """)
    command = [sys.executable, "-c", code, manifest, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(house.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["2", "False"], done.stderr


JAX = (Path(frameworks.FOLDER) / "jax.py").read_text().replace("MODELS =", 'ENVIRONMENT = "jax"\nMODELS =')
SCANNED = "state, (images, labels))"
# By the framework's name: what is broken in JAX, the execution in which it is, and the gate that must notice.
JAX_SABOTAGE = {
    "jax-honest": ("", "", "compile", None),
    "jax-honest-scan": ("", "", "epoch_graph", None),
    "jax-no-waiting": ("self.jax.block_until_ready(", "(lambda _: None)(", "compile", "synchronised"),
    "jax-no-waiting-scan": ("self.jax.block_until_ready(", "(lambda _: None)(", "epoch_graph", "synchronised"),
    "jax-bf16-in-fp32": ('if cell.precision == "bf16" else jnp.float32', "", "compile", "same arithmetic"),
    "jax-dropped-step": (SCANNED, "state, (images[1:], labels[1:]))", "epoch_graph", "work done"),
    "jax-repeated-step": (SCANNED, "state, (images.at[3].set(images[2]), labels))", "epoch_graph", "same arithmetic"),
    "jax-no-momentum": ("self.momentum * old + new", "0 * old + new", "compile", "same arithmetic"),
}


@pytest.fixture(scope="module")
def jax_records(house, manifest):
    """The records of JAX, honest and broken; a scan takes long on a processor, but its epochs here are short."""
    if interpreter_of("jax") is None:
        pytest.skip("make frameworks has not been run here")
    rows = []
    for name, (old, new, execution, _) in JAX_SABOTAGE.items():
        add(house, name, broken(JAX, old, new))
        rows.append(({"framework": name, "execution": execution, "memory_format": "channels_last"}, 2))
    return train(house, manifest, rows, **environments_here("jax"))


def environments_here(name):
    """Return the variable by which a copy of the package finds the environments that are made for this repository."""
    interpreter = interpreter_of(name)
    return {} if interpreter == Path(sys.executable) else {"EPOCHBENCH_FRAMEWORKS": str(interpreter.parents[2])}


@pytest.mark.deep
@pytest.mark.parametrize(("name", "gate"), [(name, each[-1]) for name, each in JAX_SABOTAGE.items()])
def test_sabotage_in_jax_is_noticed_and_nothing_else(jax_records, name, gate):
    found = fired(jax_records[name])
    assert found == set() if gate is None else gate in found


@pytest.mark.deep
@pytest.mark.fault("hardware", "refused")
@pytest.mark.skipif(bool(accelerators()), reason="there is a GPU here")
@pytest.mark.parametrize(("name", "words"), [("jax", "JAX 0."), ("keras", "TensorFlow 2.")])
def test_a_framework_that_sees_no_gpu_says_so(house, manifest, name, words):
    if interpreter_of(name) is None:
        pytest.skip("make frameworks has not been run here")
    gpu = {"device": "gpu", "execution": "compile", "memory_format": "channels_last", "autotune": "on"}
    said = train(house, manifest, [({"framework": name} | gpu, 1)], **environments_here(name))[name]
    assert said.startswith(f"cell 'a': {words}")
    assert " sees no GPU" in said


def test_jax_takes_its_threads_from_no_variable(monkeypatch):
    """XLA heeds them silently: with NPROC=1 it had one thread, of a cell that says two."""
    pretended = SimpleNamespace(config=SimpleNamespace(update=lambda *_: None), devices=lambda: ["a processor"])
    monkeypatch.setitem(sys.modules, "jax", pretended)
    monkeypatch.setattr(os, "environ", os.environ | {"NPROC": "1", "PJRT_NPROC": "1"})
    assert jax.open_jax(Cell("a", "cpu", framework="jax", execution="compile")) == "a processor"
    assert not {"NPROC", "PJRT_NPROC"} & set(os.environ)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"framework": "jax"}, "execution eager is not one of framework jax's on a CPU: compile or epoch_graph"),
        ({"framework": "jax", "precision": "tf32"}, "precision tf32 is not one of framework jax's on a CPU"),
        ({"framework": "keras"}, "memory_format contiguous is not one of framework keras's on a CPU: channels_last"),
        ({"framework": "jax", "model": "resnet18"}, "model resnet18 is not one of framework jax's on a CPU: lenet"),
        ({"framework": "jax", "processes": 2}, "processes 2 is not one of framework jax's on a CPU: 1"),
        ({"framework": "jax", "device": "gpu", "allocator": "tuned"}, "allocator tuned is a CPU's; a GPU has system"),
        ({"framework": "jax", "gpu_model": "A100"}, "gpu_model A100 is a GPU's; a CPU has none"),
        (
            {"framework": "jax", "micro_batch": 10},
            "micro_batch 10 is not one of framework jax's on a CPU: an empty field",
        ),
    ],
)
def test_a_row_asks_a_framework_for_no_more_than_it_declares(columns, words):
    cell = Cell(**{"cell": "a", "device": "cpu"} | columns)
    assert any(reason.startswith(words) for reason in contradictions(cell))


def test_what_frameworks_there_are_is_read_from_their_files():
    assert frameworks.names() == ("torch", "jax", "keras", "keras-jax")
    assert frameworks.environment("keras-jax") == "jax"
    assert set(frameworks.packages("keras")) == {"keras", "tensorflow"}


@pytest.mark.fault("frameworks", "refused")
def test_the_bar_names_cells_that_it_cannot_time():
    command = [sys.executable, str(REPOSITORY / "benchmarks" / "peers.py"), "cpu-reference", "cpu-mxnet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: nothing here can time cpu-mxnet (cpu, frameworks.tsv)\n"


@pytest.mark.fault("frameworks", "refused")
@pytest.mark.parametrize(
    ("written", "said"),
    [
        (b"def open_framework(:", r"frameworks/mine\.py: no Python \(.*mine\.py, line 1\)\); mend or remove it"),
        (b"# \xff\xfe", r"frameworks/mine\.py: no Python \('utf-8' codec"),
        (b"PACKAGES = dict(mine='1')", r"frameworks/mine\.py: PACKAGES must be written out, without names or calls"),
        (b"PACKAGES = ['mine']", r"frameworks/mine\.py: PACKAGES must be a dict, and is \['mine'\]"),
        (b"PACKAGES = {}; MODELS = ('lenet')", r"frameworks/mine\.py: MODELS must be a tuple, and is lenet"),
        (b"PACKAGES = {}; CPU = {'layers': 'published'}", r"frameworks/mine\.py: CPU must be a dict of tuples, and is"),
    ],
    ids=["no Python", "no text", "a call", "a list", "no comma", "no comma in a column"],
)
def test_a_file_that_cannot_be_read_is_named_with_what_is_wrong(monkeypatch, tmp_path, written, said):
    monkeypatch.setattr(frameworks, "FOLDER", tmp_path)
    frameworks._constants.cache_clear()
    (tmp_path / "mine.py").write_bytes(written)
    (reason,) = frameworks.refused("mine", Cell("a", "cpu", framework="mine"))
    assert re.match(said, reason)
    assert "\n" not in reason
    frameworks._constants.cache_clear()


def test_this_interpreter_as_a_frameworks_finds_what_is_found_here(monkeypatch, tmp_path):
    """Snakemake gives its scripts folders that no variable names; another interpreter must not be given them."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    assert str(tmp_path) in client._paths(Path(sys.executable))
    assert str(tmp_path) not in client._paths(tmp_path / "bin" / "python")
