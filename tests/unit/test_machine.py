import mmap
import os

import pytest
from support import needs_affinity

from epochbench.timing import devices, provenance
from epochbench.timing.cell import Cell
from epochbench.timing.devices import cpu
from epochbench.timing.devices.drivers import nvidia, nvidia_smi
from epochbench.timing.machine import host


def test_a_quota_counts_in_whole_cores_and_never_less_than_one(tmp_path):
    for text, cores in (("max 100000", None), ("800000 100000", 8.0), ("50000 100000", 0.5), ("rubbish", None)):
        (tmp_path / "cpu.max").write_text(text)
        assert host._read_quota(tmp_path) == cores


def test_the_older_kind_of_quota_is_read_too(tmp_path):
    (tmp_path / "cpu.cfs_quota_us").write_text("300000")
    (tmp_path / "cpu.cfs_period_us").write_text("100000")
    assert host._read_quota(tmp_path) == 3.0
    (tmp_path / "cpu.cfs_quota_us").write_text("-1")
    assert host._read_quota(tmp_path) is None


@needs_affinity
def test_affinity_bounds_the_cores():
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert host.usable_cores() == 1
    finally:
        os.sched_setaffinity(0, cores)


def test_the_workers_of_a_team_share_a_quota(monkeypatch):
    monkeypatch.setattr(host, "affinity", lambda: 32)
    monkeypatch.setattr(host, "_cgroup_quota", lambda: 8)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert host.usable_cores() == 8
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert host.usable_cores() == 4


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_hidden_gpus_are_none(monkeypatch, hidden):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    nvidia.gpus.cache_clear()
    assert nvidia.gpus() == ()
    nvidia.gpus.cache_clear()


@pytest.mark.parametrize(
    ("script", "driver", "names", "why"),
    [
        ("echo GPU-aa, 81559, 580.1, NVIDIA H100, 80GB", True, ["NVIDIA H100, 80GB"], None),
        ("echo No devices were found; exit 6", True, [], None),
        ("echo Driver/library version mismatch; exit 18", True, [], "Driver/library version mismatch"),
        ("exit 9", True, [], "status 9"),
        ("echo GPU-aa, many, 580.1, NVIDIA H100", True, [], "invalid literal for int"),
        (None, True, [], "No such file"),
        (None, False, [], None),
        ("exit 9", False, [], None),
    ],
)
def test_nvidia_smi_tells_of_cards_or_why_it_could_not(tmp_path, monkeypatch, script, driver, names, why):
    if script:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/nowhere")
    monkeypatch.setattr(nvidia_smi, "DEVICE_FILES", (tmp_path if driver else tmp_path / "no driver",))
    gpus, reason = nvidia_smi.look.__wrapped__()
    assert [gpu.name for gpu in gpus] == names
    assert all(gpu.memory_bytes == 81559 * 2**20 for gpu in gpus)
    assert (why in reason) if why else reason is None


LSCPU = "Architecture:        aarch64\nModel name:          Neoverse-N1\nThread(s) per core:  1\n"


@pytest.mark.parametrize(
    ("system", "said", "name", "sockets"),
    [
        ("Linux", {"lscpu": LSCPU}, "Neoverse-N1", None),
        ("Linux", {"lscpu": "Model name:          -\n"}, "another word", None),
        ("Linux", {}, "another word", None),
        ("Darwin", {"machdep.cpu.brand_string": "Apple M4 Pro\n", "hw.packages": "1\n"}, "Apple M4 Pro", 1),
        ("Darwin", {}, "another word", None),
    ],
    ids=["Arm", "an unknown Arm", "nobody tells", "macOS", "a macOS that does not tell"],
)
def test_where_the_kernel_has_no_files_others_are_asked_for_the_processor(monkeypatch, system, said, name, sockets):
    def reading(path, *_, **__):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(host.Path, "read_text", reading)
    monkeypatch.setattr(host, "_cpu_folder", lambda: host.Path("/nonexistent"))
    monkeypatch.setattr(host.platform, "system", lambda: system)
    monkeypatch.setattr(host.platform, "processor", lambda: "another word")
    monkeypatch.setattr(host, "_said_by", lambda *command: said.get(command[-1], ""))
    assert (host.cpu_model.__wrapped__(), host.sockets()) == (name, sockets)


def test_a_program_that_is_not_there_or_fails_says_nothing():
    assert host._said_by("echo", "a word") == "a word\n"
    assert host._said_by("no-such-program") == ""
    assert host._said_by("false") == ""


def test_activity_counts_what_this_process_does():
    before = host.activity()
    with mmap.mmap(-1, 2000 * mmap.PAGESIZE) as block:
        for page in range(2000):
            block[page * mmap.PAGESIZE] = 1
    sum(range(2_000_000))
    done = host.activity() - before
    assert done.own_cpu_seconds > 0
    assert done.minor_page_faults > 1000


def test_the_fingerprint_is_steady_and_knows_the_processor(monkeypatch):
    first = provenance.fingerprint()
    assert first == provenance.fingerprint()
    monkeypatch.setattr(host, "cpu_model", lambda: "Another CPU")
    assert provenance.fingerprint() != first


@needs_affinity
def test_a_job_of_fewer_cores_is_on_the_same_machine():
    cores, before = os.sched_getaffinity(0), provenance.fingerprint()
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert provenance.fingerprint() == before
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.parametrize(
    ("flags", "computes"),
    [
        ("fpu avx2 avx512bw avx512vl avx512dq", True),
        ("fpu avx2 avx512bw avx512vl", False),
        ("fpu avx2 avx_ne_convert", True),
        ("fp asimd bf16", True),
        ("fpu avx2", False),
        ("", False),
    ],
)
def test_a_processor_that_does_not_compute_in_bf16_lacks_something_for_its_cells(flags, computes):
    half, whole = (Cell("cpu-a", "cpu", precision=precision) for precision in ("bf16", "fp32"))
    found = cpu.lacks(half, frozenset(flags.split()))
    told = "this processor does not compute in bf16" if flags else "nobody tells whether this processor has bf16"
    assert found == (None if computes else told)
    assert cpu.lacks(whole, frozenset(flags.split())) is None


@pytest.mark.skipif(not host.cpu_flags(), reason="this system does not tell its processor's flags")
def test_the_flags_say_of_bf16_what_torch_says():
    assert (devices.lacking(Cell("cpu-a", "cpu", precision="bf16")) is None) == cpu.CpuDevice().computes_bf16()
    assert devices.lacking(Cell("gpu-a", "gpu", precision="bf16")) is None
