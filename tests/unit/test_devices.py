"""Accelerators of every kind, faked: what each says of itself, what the plan leaves out, and what the gates notice."""

import contextlib
import dataclasses
import importlib
import json
import os
import re
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from fake_devices import fake_devices
from support import REPOSITORY

from epochbench.errors import BenchmarkError
from epochbench.records import gates
from epochbench.records.judges.card import full_clock
from epochbench.sheets import read_cells
from epochbench.timing import calibrate, devices, stack, step
from epochbench.timing.cell import COLUMNS, Cell
from epochbench.timing.devices import cpu
from epochbench.timing.devices._table import table, with_tables
from epochbench.timing.devices.drivers import amd, apple, intel, nvidia
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Gpu, Peaks
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task

KINDS = ("rocm", "mps", "xpu")
SHORT = Protocol(warmup_steps=2, min_epochs=3, max_epochs=3, min_steps=0, min_seconds=0.0, max_seconds=60.0)
LIMITLESS = Peaks(dict.fromkeys(("fp32", "bf16"), 1e18), 1e18, 1e18)
CARD = {
    "serial": "0x00000000000000AA", "clk": 2100, "max_clk": 2100, "throttle": 0, "cap": 750_000_000, "watts": 600,
    "temperature": 60, "busy": 99, "processes": [], "energy": [1_000_000, 2_000_000, 3_000_000],
}  # fmt: skip
FAKES = REPOSITORY / "tests" / "fake_devices"


class Place:
    """Where one accelerator is to be seen, and what it is scripted to do."""

    def __init__(self, folder, monkeypatch):
        self.folder, self.monkeypatch = folder, monkeypatch

    def see(self, kind, **script):
        """See one device of a kind, and return it."""
        queue, cards = fake_devices.Queue(script), self.folder / "drm"
        put = self.monkeypatch.setattr
        fake_devices.install_torch(put, torch, kind, queue)
        for name in fake_devices.MODULES:
            fake_devices.install_module(put, importlib.import_module(name), kind, cards)
        if kind == "rocm":
            self.write(CARD)
        if kind == "xpu" and not cards.exists():
            fake_devices.make_intel_card(self.folder)
        forget()
        return queue

    def write(self, card):
        """Write what AMD SMI tells of its card."""
        self.monkeypatch.setenv("FAKE_AMDSMI", str(self.folder / "card.json"))
        new = self.folder / "card.new"
        new.write_text(json.dumps(card))
        new.replace(self.folder / "card.json")
        sys.modules.pop("amdsmi", None)
        forget()


def forget():
    for module in (amd, apple, intel):
        module.gpus.cache_clear()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A machine without an accelerator, until one is seen."""
    for kind in devices.facts().values():
        for name in kind.shown_variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("FAKE_AMDSMI", raising=False)
    monkeypatch.syspath_prepend(str(FAKES))
    monkeypatch.setenv("PYTHONPATH", str(FAKES))
    monkeypatch.setattr(calibrate, "calibrate", lambda *_: LIMITLESS)
    forget()
    yield Place(tmp_path, monkeypatch)
    forget()
    sys.modules.pop("amdsmi", None)


def measured(manifest, **columns):
    """Return the judged record of a short run on the device that is seen."""
    cell = Cell(**({"cell": "gpu-a", "device": "gpu", "batch_size": 100} | columns))
    return gates.judged(run_cell(Task(cell, 1, SHORT, manifest, threads=1)))


def verdict(record, name):
    return next((found.passed, found.sentence) for found in record.gates if found.gate == name)


def failed_hard(record):
    return {found.gate for found in record.gates if found.passed is False and found.severity == gates.HARD}


@pytest.mark.parametrize("kind", KINDS)
def test_a_device_of_each_kind_trains_is_named_and_is_judged(kind, place, manifest):
    place.see(kind, step_seconds=0.002)
    record = measured(manifest)
    assert record.machine.gpu.name == fake_devices.NAMES[kind]
    assert failed_hard(record) == set()
    assert record.training.peak_memory_bytes == 123 * 2**20
    # The queue is busy for five steps of two milliseconds beyond what the processor computed.
    assert min(record.timing.epoch_seconds) >= 0.01
    assert (record.timing.event_seconds is None) == (kind == "mps")
    passed, sentence = verdict(record, "synchronised")
    assert passed is (None if kind == "mps" else True)
    assert ("has no events" in sentence) == (kind == "mps")
    assert (record.conditions.gpu_energy_joules is None) == (kind != "rocm")
    assert full_clock(record)[0] is (True if kind == "rocm" else None)


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize(
    ("kind", "script"),
    [
        ("rocm", {"event_offset_ms": 500.0}),
        ("xpu", {"event_offset_ms": 500.0}),
        ("rocm", {"event_factor": -1.0}),
        ("xpu", {"event_factor": -1.0}),
        ("rocm", {"waits": False}),
        ("xpu", {"waits": False}),
        ("mps", {"waits": False}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
def test_a_clock_that_is_wrong_is_noticed(kind, script, place, manifest):
    """Events that are late or run backwards, and a queue that is not empty when the stopwatch stops."""
    # Much, where what is left in the queue is to be told from an epoch that a busy machine makes long.
    place.see(kind, **{"step_seconds": 0.0 if "waits" not in script else 0.3} | script)
    assert "synchronised" in failed_hard(measured(manifest))


@pytest.mark.parametrize("kind", KINDS)
def test_the_stopwatch_stops_once_the_queue_is_empty(kind, place):
    queue = place.see(kind, step_seconds=0.05)
    device = devices.open_device(Cell("gpu-a", "gpu"))
    queue.add()
    device.start()
    assert queue.empty_at <= device._started
    queue.add()
    elapsed = device.stop()
    assert queue.empty_at <= time.perf_counter()
    assert elapsed.wall_seconds >= max(0.05, elapsed.wait_seconds)
    assert elapsed.event_seconds is None if kind == "mps" else 0.05 <= elapsed.event_seconds <= elapsed.wall_seconds


@pytest.mark.fault("hardware", "survived")
@pytest.mark.parametrize("energy", [[5_000_000, 4_000_000], [5_000_000], None], ids=["backwards", "still", "none"])
def test_energy_that_is_not_counted_on_is_unknown_and_never_0(energy, place, manifest):
    place.see("rocm")
    place.write({name: fact for name, fact in (CARD | {"energy": energy}).items() if fact is not None})
    assert measured(manifest).conditions.gpu_energy_joules is None


@pytest.mark.parametrize(
    ("card", "passed", "words"),
    [
        ({"throttle": 1 << 2}, False, "power cap"),
        ({"processes": [os.getpid(), 4]}, False, "1 other"),
        ({"throttle": None, "max_clk": None}, None, "No accelerator tells"),
        ({"processes": None}, True, "while the clock ran. Whether others computed on the card is unknown."),
        ({}, True, "2100 MHz of 2100 MHz while the clock ran."),
    ],
    ids=["held", "shared", "untold", "neighbours untold", "all told"],
)
def test_what_amds_driver_tells_of_clocks_is_judged(card, passed, words, place, manifest):
    place.see("rocm")
    place.write({name: fact for name, fact in (CARD | card).items() if fact is not None})
    found, sentence = full_clock(measured(manifest))
    assert (found, words in sentence) == (passed, True), sentence
    assert ("is unknown" in sentence) == ("processes" in card and card["processes"] is None)


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize(("kind", "tool"), [("rocm", "amd-smi"), ("mps", "Console.app"), ("xpu", "xpu-smi")])
def test_a_device_that_fails_is_told_with_its_makers_tool(kind, tool, place, manifest):
    place.see(kind, fails_after=4)
    with pytest.raises(BenchmarkError, match=f"cell 'gpu-a': the GPU failed .*the device is lost.*See {tool} and"):
        measured(manifest)


LEFT_OUT = {
    "rocm": {"gpu-tf32", "gpu-fused", "gpu-best"},
    "mps": {
        "gpu-tf32", "gpu-graph", "gpu-channels-last", "gpu-autotuned", "gpu-compiled", "gpu-space-to-depth",
        "gpu-fused", "gpu-best",
    },
    "xpu": {"gpu-tf32", "gpu-autotuned", "gpu-compiled", "gpu-space-to-depth", "gpu-fused", "gpu-best"},
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_default_sheet_adapts_to_what_a_kind_lacks(kind, place):
    place.see(kind)
    cells = [cell for cell in read_cells(REPOSITORY / "config" / "cells.tsv") if cell.device == "gpu"]
    assert {cell.cell for cell in cells if devices.lacking(cell)} == LEFT_OUT[kind]
    tf32 = devices.lacking(Cell("gpu-a", "gpu", precision="tf32"))
    assert tf32.startswith(f"{devices.facts()[kind].hardware} have no precision tf32 here (")


@pytest.mark.parametrize("kind", KINDS)
def test_other_frameworks_are_not_timed_where_nobody_watches_the_card(kind, place):
    place.see(kind)
    told = f"{devices.facts()[kind].hardware} are timed with torch alone, not with other frameworks"
    assert devices.lacking(Cell("gpu-a", "gpu", framework="jax", execution="compile")) == told
    assert devices.lacking(Cell("cpu-a", "cpu", framework="jax", execution="compile")) is None
    assert devices.lacking_by(devices.facts()["cuda"], Cell("gpu-a", "gpu", framework="jax")) is None


def test_cuda_lacks_nothing_of_the_sheet():
    assert devices.facts()["cuda"].lacks == {}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_kind_lacks_is_refused_where_it_is_insisted_on(kind, place, manifest):
    place.see(kind)
    with pytest.raises(BenchmarkError, match=f"precision tf32, but a device of kind {kind} has fp32, bf16, fp16"):
        measured(manifest, precision="tf32")


@pytest.mark.parametrize(
    ("kind", "columns", "words"),
    [
        ("mps", {"autotune": "on"}, "Apple GPUs have no autotune on here"),
        ("xpu", {"autotune": "on"}, "Intel GPUs have no autotune on here"),
        (
            "rocm",
            {"layers": "fused", "memory_format": "blocks", "precision": "bf16"},
            "AMD GPUs have no layers fused here",
        ),
    ],
)
def test_a_setting_that_torch_would_pass_over_is_refused_too(kind, columns, words, place):
    place.see(kind)
    devices.open_device(Cell("gpu-a", "gpu"))
    with pytest.raises(BenchmarkError, match=f"cell 'gpu-a': {words}"):
        devices.open_device(Cell("gpu-a", "gpu", **columns))


def test_an_apple_gpu_is_asked_which_types_autocast_has(place, monkeypatch):
    place.see("mps")
    assert devices.open_device(Cell("gpu-a", "gpu")).precisions == ("fp32", "bf16", "fp16")
    honest = torch.autocast

    def without_fp16(device, dtype, **options):
        return honest(device, dtype=dtype, enabled=dtype is not torch.float16)

    monkeypatch.setattr(torch, "autocast", without_fp16)
    assert devices.open_device(Cell("gpu-a", "gpu")).precisions == ("fp32", "bf16")
    with pytest.raises(BenchmarkError, match="precision fp16, but a device of kind mps has fp32, bf16"):
        devices.open_device(Cell("gpu-a", "gpu", precision="fp16"))


def test_intel_gpus_have_graphs_where_torch_has_them(place, monkeypatch, tmp_path):
    place.see("xpu")
    graph = Cell("gpu-a", "gpu", execution="cuda_graph")
    assert devices.lacking(graph) is None
    monkeypatch.setattr(importlib.import_module("epochbench.timing.machine.torch_files"), "folder", lambda: tmp_path)
    assert devices.lacking(graph) == "this torch has no graphs for Intel GPUs"
    monkeypatch.delattr(torch.xpu, "XPUGraph")
    with pytest.raises(BenchmarkError, match="a device of kind xpu cannot capture a graph"):
        devices.open_device(graph)


@pytest.mark.parametrize(
    ("kind", "variable", "word"),
    [
        ("rocm", "HIP_VISIBLE_DEVICES", "-1"),
        ("rocm", "ROCR_VISIBLE_DEVICES", ""),
        ("rocm", "CUDA_VISIBLE_DEVICES", ""),
        ("rocm", "HIP_VISIBLE_DEVICES", "GPU-bb"),
        ("xpu", "ZE_AFFINITY_MASK", "-1"),
        ("xpu", "ONEAPI_DEVICE_SELECTOR", "*:cpu"),
    ],
)
def test_hidden_devices_are_none(kind, variable, word, place, monkeypatch):
    place.see(kind)
    assert [gpu.name for gpu in devices.accelerators()] == [fake_devices.NAMES[kind].replace("Arc B999", "GPU e20b")]
    monkeypatch.setenv(variable, word)
    forget()
    assert devices.accelerators() == ()


@pytest.mark.parametrize(
    ("variable", "word", "seen"),
    [
        ("ZE_AFFINITY_MASK", "", 1),
        ("ZE_AFFINITY_MASK", "0.1", 1),
        ("ONEAPI_DEVICE_SELECTOR", "level_zero:0", 1),
        ("ONEAPI_DEVICE_SELECTOR", "level_zero:0.*", 1),
        ("ONEAPI_DEVICE_SELECTOR", "level_zero:gpu;opencl:cpu", 1),
        ("ONEAPI_DEVICE_SELECTOR", "level_zero:1,2;opencl:cpu", 1),
        ("ONEAPI_DEVICE_SELECTOR", "!opencl:*", 1),
        ("ONEAPI_DEVICE_SELECTOR", "opencl:cpu,fpga", 0),
        ("ONEAPI_DEVICE_SELECTOR", "*:cpu;!*:gpu", 0),
    ],
)
def test_intels_variables_hide_what_oneapi_hides(variable, word, seen, place, monkeypatch):
    place.see("xpu")
    monkeypatch.setenv(variable, word)
    forget()
    assert len(devices.accelerators()) == seen


def test_a_cell_for_the_cpu_hides_every_kind(place):
    environment = {}
    cpu.prepare(environment)
    assert environment == {
        "CUDA_VISIBLE_DEVICES": "",
        "HIP_VISIBLE_DEVICES": "-1",
        "ONEAPI_DEVICE_SELECTOR": "*:cpu",
    }


def test_amd_cards_are_found_by_the_kernel_without_amds_package(place, monkeypatch, tmp_path):
    place.see("rocm")
    monkeypatch.delenv("FAKE_AMDSMI")
    nodes = {
        "0": "cpu_cores_count 16\nsimd_count 0\n",
        "1": "simd_count 304\ndomain 0\nlocation_id 768\ngfx_target_version 90402\nunique_id 170\n",
    }
    for number, text in nodes.items():
        (tmp_path / "nodes" / number / "mem_banks" / "0").mkdir(parents=True)
        (tmp_path / "nodes" / number / "properties").write_text(text)
        (tmp_path / "nodes" / number / "mem_banks/0/properties").write_text(f"heap_type 1\nsize_in_bytes {2**34}\n")
    monkeypatch.setattr(amd, "TOPOLOGY", tmp_path / "nodes")
    monkeypatch.setattr(amd, "PCI", tmp_path / "pci")
    forget()
    assert [dataclasses.astuple(gpu) for gpu in amd.gpus()] == [
        ("AMD GPU gfx942", 2**34, amd._read(amd.DRIVER), "GPU-00000000000000aa")
    ]
    (tmp_path / "pci" / "0000:03:00.0").mkdir(parents=True)
    (tmp_path / "pci" / "0000:03:00.0" / "product_name").write_text("AMD Instinct MI999\n")
    forget()
    assert amd.gpus()[0].name == "AMD Instinct MI999"


def test_a_driver_that_nobody_could_ask_and_a_torch_that_is_for_others_are_told(place, monkeypatch, tmp_path):
    place.see("rocm")
    monkeypatch.setattr(importlib.import_module(fake_devices.MODULES[0]), "built_for", lambda platform: None)
    assert (devices.accelerators(), devices.unseen()) == ((), None)
    assert devices.unusable() == "there is an AMD GPU, but torch here is not built for ROCm"
    place.see("rocm")
    assert devices.unusable() is None
    monkeypatch.delenv("FAKE_AMDSMI")
    monkeypatch.setattr(amd, "DEVICE_FILE", tmp_path)
    monkeypatch.setattr(amd, "TOPOLOGY", tmp_path / "none")
    forget()
    assert "neither AMD SMI nor" in devices.unseen()


@pytest.mark.parametrize("kind", ["rocm", "xpu"])
def test_what_a_card_lacks_is_known_where_the_jobs_alone_have_torch(kind, place, monkeypatch):
    """As with conda, where Snakemake's own environment has none."""
    place.see(kind)
    files = importlib.import_module(fake_devices.MODULES[0])
    monkeypatch.setattr(files, "built_for", lambda platform: None)
    monkeypatch.setattr(files, "folder", lambda: None)
    assert devices.accelerators() == ()
    assert devices.lacking(Cell("gpu-a", "gpu", precision="tf32")).startswith(devices.facts()[kind].hardware)
    monkeypatch.setattr(torch.version, next(iter(fake_devices.BUILT_FOR[kind])), None)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: False)
    with pytest.raises(BenchmarkError, match=f"this torch is built without {'ROCm' if kind == 'rocm' else 'XPU'}"):
        devices.open_device(Cell("gpu-a", "gpu"))


@pytest.mark.parametrize("kind", ["rocm", "xpu"])
def test_another_makers_card_beside_the_one_that_torch_is_built_for_is_not_taken(kind, place, monkeypatch):
    monkeypatch.setattr(nvidia, "gpus", lambda: (Gpu("NVIDIA H200", 2**37, "580", "GPU-1"),))
    place.see(kind)
    assert fake_devices.NAMES[kind].split()[0] in devices.accelerators()[0].name
    assert len(devices.accelerators()) == 1
    assert type(devices.open_device(Cell("gpu-a", "gpu"))).__name__ == fake_devices.CLASSES[kind]
    assert devices.unusable() == "there is an NVIDIA GPU, but torch here is not built for CUDA"
    monkeypatch.setattr(importlib.import_module(fake_devices.MODULES[0]), "built_for", lambda platform: None)
    assert [gpu.name for gpu in devices.accelerators()] == ["NVIDIA H200"]


def test_what_torch_is_built_for_is_read_from_its_own_files():
    files = importlib.import_module(fake_devices.MODULES[0])
    for platform in ("cuda", "hip", "xpu"):
        assert files.built_for(platform) == getattr(torch.version, platform, None)
    assert files.lacks_onednn() != torch.backends.mkldnn.is_available()


def test_an_intel_gpu_without_float64_has_no_fp16_and_compares_the_replay_of_an_epoch(place, monkeypatch):
    place.see("xpu")
    assert "fp16" in devices.open_device(Cell("gpu-a", "gpu")).precisions
    facts = SimpleNamespace(**vars(torch.xpu.get_device_properties("xpu")), has_fp64=False)
    monkeypatch.setattr(torch.xpu, "get_device_properties", lambda device: facts)
    with pytest.raises(BenchmarkError, match="precision fp16, but a device of kind xpu has fp32, bf16"):
        devices.open_device(Cell("gpu-a", "gpu", precision="fp16"))

    class There:
        """A tensor that has float64 only once it is on the processor."""

        def __init__(self, value):
            self.value = value

        def __sub__(self, other):
            return There(self.value - other.value)

        def is_floating_point(self):
            return True

        def norm(self):
            return There(self.value.norm())

        def cpu(self):
            return self.value

    found, expected, before = (There(torch.tensor([value, 0.0])) for value in (1.5, 1.0, 0.0))
    assert step._relative_difference([found], [expected], [before]) == 0.5


def test_a_device_that_does_not_tell_its_free_memory_has_what_this_process_left(place, monkeypatch):
    place.see("xpu")
    device = devices.open_device(Cell("gpu-a", "gpu"))
    assert device.free_memory_bytes() == fake_devices.MEMORY

    def untold(_):
        raise RuntimeError("The device (Intel(R) Graphics) doesn't support querying the available free memory.")

    monkeypatch.setattr(torch.accelerator, "get_memory_info", untold)
    monkeypatch.setattr(torch.accelerator, "memory_allocated", lambda _: 2**30)
    assert device.free_memory_bytes() == fake_devices.MEMORY - 2**30


def test_intel_counts_the_energy_of_one_card_alone(place, tmp_path, monkeypatch):
    fake_devices.make_intel_card(tmp_path, 7_000_000)
    place.see("xpu")
    assert intel.energy_joules() == 7.0
    device = devices.open_device(Cell("gpu-a", "gpu"))
    assert device.energy_joules() == 7.0
    monkeypatch.setattr(torch.xpu, "device_count", lambda: 2)  # two parts of that card
    assert device.energy_joules() is None
    fake_devices.make_intel_card(tmp_path / "more", 5)
    (tmp_path / "drm" / "card2").symlink_to(tmp_path / "more" / "drm" / "card1")
    assert intel.energy_joules() is None


def test_the_cpu_ladder_leaves_out_what_the_system_lacks(monkeypatch):
    tuned, onednn = Cell("cpu-a", "cpu", allocator="tuned"), Cell("cpu-b", "cpu", memory_format="onednn")
    assert (devices.lacking(tuned), devices.lacking(onednn)) == (None, None)
    monkeypatch.setattr(cpu.platform, "libc_ver", lambda: ("", ""))
    monkeypatch.setattr(cpu.torch_files, "lacks_onednn", lambda: True)
    assert "setting of glibc" in devices.lacking(tuned)
    assert "without oneDNN" in devices.lacking(onednn)


def test_without_glibc_a_row_keeps_what_it_has_beside_tuned(monkeypatch):
    cells = read_cells(REPOSITORY / "config" / "cells.tsv")
    assert cpu.as_this_system_has(cells) == cells
    monkeypatch.setattr(cpu.platform, "libc_ver", lambda: ("", ""))
    found = {cell.cell: cell for cell in cpu.as_this_system_has(cells)}
    assert list(found) == [cell.cell for cell in cells]
    still_tuned = {name for name, cell in found.items() if cell.allocator == "tuned"}
    assert still_tuned == {"cpu-allocator"}  # without it, it is the reference
    assert found["cpu-pool-first"] == Cell("cpu-pool-first", "cpu", memory_format="channels_last", layers="pool_first")


def test_the_tables_of_the_documentation_are_what_the_kinds_declare():
    text = (REPOSITORY / "docs" / "devices.md").read_text()
    assert with_tables(text) == text
    assert [row[0] for row in table()][1] == "run on real hardware"
    assert table()[1][2:] == ("not yet run on real hardware",) * 3


@pytest.mark.parametrize("kind", ["cuda", *KINDS])
def test_what_a_kind_declares_is_what_its_device_has(kind):
    module = importlib.import_module(f"epochbench.timing.devices.{kind}")
    device, told = getattr(module, fake_devices.CLASSES.get(kind, "CudaDevice")), devices.facts()[kind]
    assert device.torch_type == told.torch_type
    if kind != "mps":  # which asks torch
        assert [*device.precisions, *told.lacks.get("precision", {})] in (
            ["fp32", "tf32", "bf16", "fp16"],
            ["fp32", "bf16", "fp16", "tf32"],
        )
        assert f"`{device.backend}`" in told.processes
    assert device.can_capture or kind in ("mps", "xpu")  # the latter asks torch
    values = {name: COLUMNS[name].allowed() for name in told.lacks}
    assert all(set(lacks) <= set(values[name]) for name, lacks in told.lacks.items())


def test_what_hides_devices_is_no_other_stack(place, monkeypatch):
    before = stack.installed_stack()
    environment = {}
    cpu.prepare(environment)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
        assert not stack.is_variable(name)
    assert stack.installed_stack() == before


MAKERS = re.compile(
    r"nvidia|nvml|cuda|cudnn|cublas|nccl|\bamd|rocm|miopen|\bhip\b|\bmps\b|\bxpu\b|intel\b|\bapple\b|radeon|xccl", re.I
)
# Where a maker may be named outside devices/, by which words, and why.
EXCUSED = {
    # The record's field for the version that torch was built with, which older records have too, and its name in words.
    "timing/record.py": {"cuda"},
    "timing/provenance.py": {"cuda"},
    "records/run_gates.py": {"cuda"},
    "aggregate/machines.py": {"cuda", "nvidia"},
    "aggregate/result.py": {"cuda"},
    "aggregate/summary.py": {"cuda"},
    "report/board.py": {"cuda"},
    "report/machine_tables.py": {"cuda"},
    # What cards and processors are called, as an example.
    "aggregate/plain.py": {"nvidia", "intel"},
    # The kernel's own name of counters that AMD's processors have too.
    "timing/machine/energy.py": {"intel"},
    # Other frameworks' own words for their builds, platforms and variables.
    "timing/frameworks/environments.py": {"cuda", "rocm"},
    "timing/frameworks/jax.py": {"cuda", "nvidia"},
    "timing/frameworks/keras.py": {"cuda", "cudnn", "nvidia"},
    "timing/stack.py": {"cudnn"},
}


def test_nothing_outside_devices_names_a_maker():
    package = REPOSITORY / "workflow" / "scripts" / "epochbench"
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".j2")]
    files = [path for path in files if package / "timing" / "devices" not in path.parents]
    named = {str(path.relative_to(package)): _makers(path) for path in files}
    rules = [*(REPOSITORY / "workflow" / "rules").iterdir(), REPOSITORY / "workflow" / "Snakefile"]
    named |= {path.name: _makers(path) for path in rules}
    assert {path: words for path, words in named.items() if words} == EXCUSED


def _makers(path):
    """Return the makers that a file names; `cuda_graph` is a value of the sheet."""
    return {word.lower() for word in MAKERS.findall(path.read_text().replace("cuda_graph", ""))}


def test_an_intel_card_without_a_torch_for_it_is_told_and_graphics_of_a_processor_are_not(place, monkeypatch, tmp_path):
    place.see("xpu")
    monkeypatch.setattr(importlib.import_module(fake_devices.MODULES[0]), "built_for", lambda platform: None)
    assert devices.unusable() == "there is an Intel GPU, but torch here is not built for XPU"
    monkeypatch.setattr(importlib.import_module(fake_devices.MODULES[0]), "folder", lambda: None)
    assert "nobody here can tell whether the jobs' torch is built for XPU" in devices.unusable()
    (tmp_path / "drm" / "card1" / "device").unlink()
    forget()
    assert devices.unusable() is None


@pytest.mark.parametrize(("kind", "module"), [("rocm", "cuda"), ("xpu", "xpu")])
def test_a_step_is_captured_by_the_same_words_of_torchs_module(kind, module, place):
    """A few steps on a side stream first, then one inside the graph, which alone is replayed."""
    place.see(kind)
    device, said = devices.open_device(Cell("gpu-a", "gpu")), []

    @contextlib.contextmanager
    def entered(word, *_):
        said.append(word)
        yield

    stream = SimpleNamespace(wait_stream=lambda other: said.append("waits"))
    graph = SimpleNamespace(replay=lambda: said.append("replay"))
    words = SimpleNamespace(
        Stream=lambda: stream, current_stream=lambda: stream, stream=lambda side: entered("side"),
        graph=lambda captured: entered("graph"), CUDAGraph=lambda: graph, XPUGraph=lambda: graph,
    )  # fmt: skip
    device.torch, device.torch_type = SimpleNamespace(**{module: words}), module
    replay, result = device.capture(lambda: said.append("step") or len(said))
    replay()
    assert said == ["waits", "side", "step", "step", "step", "waits", "graph", "step", "replay"]
    assert result == 8
