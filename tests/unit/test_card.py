"""What NVIDIA's driver tells, by a fake one: which card is meant, and what is seen while the clock runs."""

import json
import os
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from epochbench.timing import stack
from epochbench.timing.devices import cuda
from epochbench.timing.devices.drivers import nvidia, nvidia_smi
from epochbench.timing.machine import watch
from epochbench.timing.record import Gpu

FAKE = Path(__file__).parent / "fake_nvml"
BUSY = {"clock": 1980, "most": 1980, "limit": 700_000, "power": 300_000, "reasons": 0, "energy": 5_000, "pids": []}
VIOLATIONS = dict.fromkeys(map(str, nvidia.VIOLATIONS.values()), 0)
PATIENCE_SECONDS = 20


class Cards:
    """The cards of the fake driver; a change is seen at its next look."""

    def __init__(self, path):
        self.path = path
        self.write({"GPU-bb": BUSY, "GPU-aa": BUSY})

    def write(self, cards):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(cards))
        new.replace(self.path)


@pytest.fixture
def cards(tmp_path, monkeypatch):
    """Two cards, each free."""
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(FAKE))
    monkeypatch.setenv("FAKE_NVML", str(tmp_path / "cards.json"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia.gpus.cache_clear()
    yield Cards(tmp_path / "cards.json")
    nvidia.gpus.cache_clear()
    sys.modules.pop("pynvml", None)


@pytest.mark.parametrize(
    ("chosen", "uuids"),
    [
        (None, ["GPU-bb", "GPU-aa"]),
        ("GPU-aa", ["GPU-aa"]),
        ("GPU-a", ["GPU-aa"]),
        ("GPU-aa,GPU-bb", ["GPU-aa", "GPU-bb"]),
        ("0,1", ["GPU-bb", "GPU-aa"]),
        ("GPU-cc", []),
    ],
)
def test_cards_are_chosen_by_their_uuids(cards, monkeypatch, chosen, uuids):
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert [gpu.uuid for gpu in nvidia.gpus()] == uuids


def test_a_card_without_memory_of_its_own_has_the_machines(cards):
    """As on Arm machines whose processor and GPU share it; NVML and nvidia-smi tell none there."""
    cards.write({"GPU-bb": BUSY | {"unified": True}, "GPU-aa": BUSY})
    nvidia.gpus.cache_clear()
    own = psutil.virtual_memory().total
    assert [gpu.memory_bytes for gpu in nvidia.gpus()] == [own, 2**30]
    assert nvidia_smi._gpu("GPU-bb, [N/A], 580.1, NVIDIA GB10") == Gpu("NVIDIA GB10", own, "580.1", "GPU-bb")
    assert nvidia_smi._gpu("GPU-aa, 1024, 580.1, A card").memory_bytes == 2**30


PARTS = {"MIG-11": {"pids": [1, 2, 3], "name": "A card MIG 2g.20gb"}, "MIG-12": {"pids": []}}


def test_a_card_that_is_divided_is_never_taken_for_a_whole_one(cards, monkeypatch):
    cards.write({"GPU-bb": BUSY, "GPU-aa": BUSY | {"parts": PARTS}})
    first, second = (
        Gpu("A card MIG 2g.20gb", 2**27, "580.1", "MIG-11"),
        Gpu("A card MIG 1g.10gb", 2**27, "580.1", "MIG-12"),
    )
    whole = Gpu("A card", 2**30, "580.1", "GPU-bb")
    chosen = {None: (whole, first, second), "MIG-12": (second,), "GPU-aa": (first, second), "MIG-99": ()}
    for word, found in chosen.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", word) if word else None
        nvidia.gpus.cache_clear()
        assert nvidia.gpus() == found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-12")
    nvidia.gpus.cache_clear()
    for identity in ("12", "aa"):  # its own, or that of its card
        assert nvidia.found_as("A card MIG 1g.10gb", identity, 2**27) == second
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    nvidia.gpus.cache_clear()
    for identity in ("aa", "bb"):  # of which card it is may be told wrongly too
        assert nvidia.found_as("A card MIG 1g.10gb", identity, 5) == Gpu("A card MIG 1g.10gb", 5, None, None)
    assert nvidia.found_as("A card", "bb", 5) == whole


def test_a_part_has_its_cards_clocks_and_neighbours_of_its_own(cards):
    cards.write({"GPU-aa": BUSY | {"pids": [1, 2], "parts": PARTS, "violations": VIOLATIONS}})
    state = nvidia.gpu_state("MIG-11")
    assert (state.sm_clock_mhz, state.power_limit_watts, state.processes) == (1980, 700.0, 2)
    assert nvidia.gpu_state("MIG-99") is None
    with watch.watched(nvidia.__name__, "MIG-12") as watching:
        pass
    assert (watching.seen.sm_clock_max_mhz, watching.seen.processes) == (1980, 0)


@pytest.mark.parametrize("limit", [300_000, None])
def test_another_power_limit_or_package_is_another_stack(cards, monkeypatch, limit):
    before = stack.installed_stack()
    assert cuda.installed()["power limits"] == [700.0, 700.0]
    changed = {name: fact for name, fact in (BUSY | {"limit": limit}).items() if fact is not None}
    cards.write({"GPU-bb": changed, "GPU-aa": BUSY})
    assert stack.installed_stack() != before
    cards.write({"GPU-bb": BUSY, "GPU-aa": BUSY})
    assert stack.installed_stack() == before
    monkeypatch.setattr(cuda, "_packages", lambda: {"nvidia-cudnn-cu13": "9.1"})
    assert stack.installed_stack() != before


def test_the_versions_of_cudas_packages_are_read_without_torch(monkeypatch):
    packages = [
        SimpleNamespace(metadata={"Name": name}, version="1.2")
        for name in ("nvidia-cudnn-cu13", "nvidia-cuda-runtime", "nvidia-ml-py", "numpy", None)
    ]
    monkeypatch.setattr(cuda.metadata, "distributions", lambda: [*packages, SimpleNamespace(metadata={})])
    assert cuda._packages.__wrapped__() == {"nvidia-cuda-runtime": "1.2", "nvidia-cudnn-cu13": "1.2"}


@pytest.mark.parametrize("chosen", [None, "GPU-aa", "1"])
def test_energy_is_that_of_the_card_and_not_of_its_number(cards, monkeypatch, chosen):
    """The first card of CUDA is the second of NVML here."""
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    cards.write({"GPU-bb": BUSY | {"energy": 9_000_000}, "GPU-aa": BUSY | {"energy": 7_000}})
    assert nvidia.energy_joules("GPU-aa") == 7.0


def test_a_card_that_does_not_count_has_no_energy(cards):
    silent = {key: value for key, value in BUSY.items() if key != "energy"}
    cards.write({"GPU-aa": silent})
    assert nvidia.energy_joules("GPU-aa") is None
    assert nvidia.energy_joules(None) is None


def test_others_are_the_processes_that_are_not_ours(cards):
    for pids, others in (([], 0), ([os.getpid()], 0), ([os.getpid(), 1], 1), ([1], 0), ([1, 2, 3], 2)):
        cards.write({"GPU-aa": BUSY | {"pids": pids}})
        assert nvidia.gpu_state("GPU-aa").processes == others


@pytest.mark.parametrize(
    ("pids", "others"),
    [([5, 6], 0), ([5, 6, 7], 1), ([6], 0), ([5], 0), ([8, 9], 0), ([8, 9, 10], 1), ([], 0), ([6, 10], 1)],
)
def test_a_framework_and_the_job_that_it_works_for_are_ours(cards, pids, others):
    """In a container the driver may tell other numbers: then as many as are ours may be."""
    cards.write({"GPU-aa": BUSY | {"pids": pids}})
    assert nvidia.gpu_state("GPU-aa", {5, 6}).processes == others
    with watch.watched(nvidia.__name__, "GPU-aa", {5, 6}) as watching:
        pass
    assert watching.seen.processes == others


def watched_while(cards, *states):
    """Let another process watch a card until it has seen each of some states, and return what it saw."""
    cards.write({"GPU-aa": BUSY | {"violations": VIOLATIONS}})
    with watch.watched(nvidia.__name__, "GPU-aa") as watching:
        for state in states:
            cards.write({"GPU-aa": BUSY | {"violations": VIOLATIONS} | state})
            time.sleep(2.5 * watch.LOOK_EVERY_SECONDS)
    return watching.seen


def test_another_process_sees_a_clock_that_is_held_for_a_while(cards):
    held = {"clock": 1200, "reasons": 4, "violations": VIOLATIONS | {"0": 900_000_000}}
    seen = watched_while(cards, held)
    assert (seen.sm_clock_min_mhz, seen.sm_clock_max_mhz) == (1200, 1980)
    assert seen.violation_seconds["power"] == pytest.approx(0.9)
    assert seen.held_shares["power cap"] > 0.5
    assert seen.power_median_watts == 300.0
    assert seen.samples >= 2
    assert seen.seconds > watch.LOOK_EVERY_SECONDS


def test_an_idle_card_clocks_down_without_blame(cards):
    seen = watched_while(cards, {"clock": 300, "reasons": 1}, {})
    assert (seen.sm_clock_min_mhz, seen.held_shares) == (1980, {})


def test_another_process_sees_a_neighbour_that_comes_and_goes(cards):
    assert watched_while(cards, {"pids": [os.getpid()]}).processes == 0
    assert watched_while(cards, {"pids": [os.getpid(), 4]}, {"pids": [os.getpid()]}).processes == 1


def test_a_driver_that_tells_little_leaves_the_rest_unknown(cards):
    cards.write({"GPU-aa": {"clock": 1500}})
    with watch.watched(nvidia.__name__, "GPU-aa") as watching:
        pass
    seen = watching.seen
    assert seen.sm_clock_median_mhz == 1500
    assert (seen.sm_clock_max_mhz, seen.violation_seconds, seen.held_shares, seen.processes) == (None, None, None, None)


def test_without_a_card_or_a_driver_nobody_watches(monkeypatch, cards):
    with watch.watched(nvidia.__name__, None) as watching:
        pass
    assert watching.seen is None
    monkeypatch.delenv("FAKE_NVML")
    with watch.watched(nvidia.__name__, "GPU-aa") as watching:
        pass
    assert watching.seen is None


def test_the_watch_ends_with_whatever_goes_wrong_beside_it(cards):
    cards.write({"GPU-aa": BUSY | {"violations": VIOLATIONS}})
    with pytest.raises(ZeroDivisionError), watch.watched(nvidia.__name__, "GPU-aa") as watching:
        raise ZeroDivisionError
    assert watching.seen.samples >= 1
