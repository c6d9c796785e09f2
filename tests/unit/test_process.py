import os
import subprocess
import sys
import textwrap

import pytest
from support import needs_glibc

from epochbench.errors import BenchmarkError
from epochbench.timing import process
from epochbench.timing.cell import Cell
from epochbench.timing.machine.host import usable_cores
from epochbench.timing.process import lock_path, machine_lock, threads_for


def python(code, **environment):
    """Run code in a fresh process and return what it prints."""
    outcome = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout.split()


PREPARE = "from epochbench.timing.process import prepare; from epochbench.timing.cell import Cell\n"


def test_a_cpu_cell_hides_the_gpus_and_gets_its_threads():
    code = PREPARE + "prepare(Cell('a', 'cpu', threads=1)); import os, torch\n"
    code += "print(repr(os.environ['CUDA_VISIBLE_DEVICES']), os.environ['OMP_NUM_THREADS'], torch.get_num_threads())"
    assert python(code, CUDA_VISIBLE_DEVICES="0", OMP_NUM_THREADS="7") == ["''", "1", "1"]


def test_a_gpu_cell_sees_the_gpus_it_was_given():
    code = PREPARE + "prepare(Cell('a', 'gpu')); import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    assert python(code, CUDA_VISIBLE_DEVICES="3") == ["3"]


def test_torch_must_not_be_there_first(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", sys)
    with pytest.raises(BenchmarkError, match="torch was imported before"):
        process.prepare(Cell("a", "cpu"))


def test_more_threads_than_cores_are_refused_and_all_means_every_core():
    assert threads_for(Cell("a", "cpu")) == usable_cores()
    with pytest.raises(BenchmarkError, match="cell 'a': threads 9999 asked, but only"):
        threads_for(Cell("a", "cpu", threads=9999))


@pytest.mark.parametrize("threads", [None, "1/2"])
def test_more_processes_than_threads_are_refused(monkeypatch, threads):
    monkeypatch.setattr(process, "usable_cores", lambda: 4)
    assert threads_for(Cell("a", "cpu", threads=threads, processes=2)) in (2, 4)
    with pytest.raises(BenchmarkError, match=r"cell 'a': 5 processes share \d threads here.*fewer processes"):
        threads_for(Cell("a", "cpu", threads=threads, processes=5))


def test_slurm_grants_fewer_cores_than_there_are(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    assert usable_cores() == 1


def faults(tuned: bool, where: str) -> int:
    """Count the page faults of three 40 MB blocks, taken and given back twenty times, in one thread or another."""
    code = f"""
    from concurrent.futures import ThreadPoolExecutor
    from epochbench.timing.process import keep_freed_memory
    import resource, numpy
    {tuned} and keep_freed_memory()
    there = ThreadPoolExecutor(1)
    def take(count):
        for _ in range(count): [numpy.ones(5_000_000) for _ in range(3)]
    def run(count):
        take(count) if "{where}" == "main" else there.submit(take, count).result()
    run(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    run(20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    return int(python(code, NUMPY_MADVISE_HUGEPAGE="0")[0])


@needs_glibc
@pytest.mark.parametrize("where", ["main", "another"])
def test_the_tuned_allocator_keeps_its_pages(where):
    """XLA computes in threads of its own, which would have arenas of their own."""
    assert faults(True, where) * 10 < faults(False, where)


def held(kind: str) -> bool:
    """Tell whether another process could take the lock now."""
    code = f"""
    import fcntl, os
    from epochbench.timing.process import lock_path
    try:
        fcntl.flock(os.open(lock_path(), os.O_RDWR), fcntl.{kind} | fcntl.LOCK_NB)
        print("free")
    except BlockingIOError:
        print("held")
    """
    return python(code) == ["held"]


@pytest.fixture
def own_lock(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(process.tempfile, "tempdir", None)


def test_timing_keeps_everybody_else_away(own_lock):
    with machine_lock(exclusive=True):
        assert held("LOCK_SH")
        assert held("LOCK_EX")
    assert not held("LOCK_EX")


def test_the_other_stages_share_the_machine_but_keep_timing_away(own_lock):
    with machine_lock(exclusive=False):
        assert not held("LOCK_SH")
        assert held("LOCK_EX")


@pytest.mark.fault("two at once", "survived")
def test_a_killed_job_leaves_no_lock(own_lock):
    code = """
    import os, signal
    from epochbench.timing.process import machine_lock
    with machine_lock(exclusive=True):
        os.kill(os.getpid(), signal.SIGKILL)
    """
    with pytest.raises(AssertionError):
        python(code)
    assert not held("LOCK_EX")


@pytest.mark.fault("two at once", "survived")
def test_a_child_that_outlives_its_job_does_not_keep_the_lock(own_lock):
    with machine_lock(exclusive=True):
        child = subprocess.Popen(["cat"], stdin=subprocess.PIPE, close_fds=False)
    try:
        assert not held("LOCK_EX")
    finally:
        child.communicate()


@pytest.mark.fault("permissions", "refused")
@pytest.mark.parametrize("trick", ["symlink", "open", "file", "foreign"])
def test_a_lock_folder_that_others_could_touch_is_refused(own_lock, tmp_path, trick):
    folder = tmp_path / f"epochbench-{os.getuid()}"
    if trick == "symlink":
        folder.symlink_to(tmp_path)
    elif trick == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif trick == "foreign":
        if os.getuid():
            pytest.skip("only root can give a folder away")
        folder.mkdir(mode=0o700)
        os.chown(folder, 12345, 12345)
    else:
        folder.touch()
    with pytest.raises(BenchmarkError, match="only you can use"):
        lock_path()
