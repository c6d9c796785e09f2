"""What a process must be before torch is imported: its threads, its devices, its allocator, its lock."""

import contextlib
import ctypes
import fcntl
import os
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell, threads_of
from epochbench.timing.devices import kind_of
from epochbench.timing.machine.host import usable_cores

# glibc's malloc.h: parameters of mallopt(3).
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4
M_ARENA_MAX = -8
# Rare enough to cost a timed epoch nothing: a look at two processes takes some 50 microseconds.
WATCH_SECONDS = 1.0
# Taken once, as early as can be; from here on a clock counts that nobody sets.
IMPORTED = time.perf_counter()
SECONDS_BEFORE_IMPORT = max(0.0, time.time() - psutil.Process().create_time())


def seconds_since_start() -> float:
    """Return how long ago this process was started, the interpreter and the imports included."""
    return SECONDS_BEFORE_IMPORT + time.perf_counter() - IMPORTED


def prepare(cell: Cell) -> int:
    """Ready this process for one cell, before torch is imported, and return the number of threads to use.

    Raises BenchmarkError when torch is already there, when the cell asks for more threads or processes than this
    process may use, or for an allocator setting that this C library does not have.
    """
    if "torch" in sys.modules:
        raise BenchmarkError("torch was imported before the process was prepared: its thread pool is already fixed")
    threads = threads_for(cell)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
    # torch.compile would start a process for every core, which go on importing while the clock runs.
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    kind_of(cell).prepare(os.environ)
    if cell.allocator == "tuned" and not keep_freed_memory():
        raise BenchmarkError(f"cell '{cell.cell}': allocator 'tuned' needs glibc's mallopt; use 'system' here")
    return threads


def threads_for(cell: Cell) -> int:
    """Return the threads a cell gets: its own number, its share of the cores that this process may use, or all.

    Raises BenchmarkError where they are more than there are cores, or too few for its processes.
    """
    usable = usable_cores()
    wanted = threads_of(cell.threads, usable)
    if wanted > usable:
        raise BenchmarkError(
            f"cell '{cell.cell}': threads {wanted} asked, but only {usable} cores are usable here (affinity, "
            "cgroup quota, SLURM_CPUS_PER_TASK); ask for fewer, write 'all', or give the job more cores"
        )
    if wanted < cell.processes:
        raise BenchmarkError(
            f"cell '{cell.cell}': {cell.processes} processes share {wanted} threads here, and each needs one; ask for "
            "fewer processes, or give the job more cores"
        )
    return wanted


def keep_freed_memory() -> bool:
    """Have glibc keep freed blocks in the process, so that memory is not faulted in again and again.

    Only its main arena keeps them, so that threads, which is where XLA computes, share it. The same as GLIBC_TUNABLES'
    mmap_max, trim_threshold and arena_max, without starting another process. Returns False where the C library has no
    such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    settings = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_ARENA_MAX: 1}
    return mallopt is not None and all(mallopt(name, value) for name, value in settings.items())


def lock_path() -> Path:
    """Return this user's lock file for the whole machine, in a folder that nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"epochbench-{os.getuid()}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise BenchmarkError(f"{folder}: must be a folder that only you can use (mode 700); remove or rename it")
    return folder / "timing.lock"


def end_with_snakemake() -> None:
    """End this process and its children within seconds once a Snakemake that it works for is gone.

    A killed Snakemake leaves its jobs behind, which would hold the machine against its successor and write a record
    that nobody waits for.
    """
    masters = [parent for parent in psutil.Process().parents() if _is_snakemake(parent)]

    def watch() -> None:
        while all(map(_lives, masters)):
            time.sleep(WATCH_SECONDS)
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                child.kill()
        print("error: Snakemake has gone; this job ends with it", file=sys.stderr, flush=True)
        os._exit(1)

    if masters:
        threading.Thread(target=watch, daemon=True).start()


def _is_snakemake(process: psutil.Process) -> bool:
    """Tell Snakemake, by its program or module, from a shell whose command only speaks of it."""
    try:
        return any(Path(argument).name == "snakemake" for argument in process.cmdline()[:4])
    except psutil.Error:
        return False


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@contextlib.contextmanager
def machine_lock(exclusive: bool, waiting: Callable[[], None] = lambda: None) -> Iterator[float]:
    """Hold the machine alone (timing) or together (everything else), and yield the seconds that were waited.

    It holds among all clones and all Snakemakes of one user, and the kernel releases it when the process ends in
    whatever way. `waiting` is called once if the lock is not free at once.
    """
    descriptor = os.open(lock_path(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        started = time.monotonic()
        kind = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, kind)
        yield time.monotonic() - started
    finally:
        os.close(descriptor)
