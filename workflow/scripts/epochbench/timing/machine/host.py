"""What this machine is, and what it does while we time. Nothing here imports torch."""

import contextlib
import math
import os
import platform
import re
import resource
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import psutil


def usable_cores() -> int:
    """Return how many cores this process may keep busy: affinity, cgroup quota and Slurm's grant, the least of them.

    The workers of a team, which torchrun counts, share the last two, and are pinned to cores of their own.
    """
    workers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    shared = [_cgroup_quota(), os.environ.get("SLURM_CPUS_PER_TASK")]
    return max(1, min([affinity(), *(int(limit) // workers for limit in shared if limit)]))


def affinity() -> int:
    """Return how many cores this process may run on; every core where the system cannot pin."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cgroup_quota() -> int | None:
    """Return the CPU quota of this process's cgroup in whole cores, rounded down but at least 1; None if unlimited."""
    quotas = [quota for folder in _cgroup_folders() if (quota := _read_quota(folder))]
    return max(1, math.floor(min(quotas))) if quotas else None


def free_memory_bytes() -> int:
    """Return the memory that this process may still take: the machine's, or what its cgroups (version 2) leave it."""
    rooms = [room for folder in _cgroup_folders() if (room := _room_in(folder)) is not None]
    return max(0, min([psutil.virtual_memory().available, *rooms]))


def _room_in(folder: Path) -> int | None:
    """Return what one cgroup's limit leaves beside memory in use, None without a limit; cached files give way."""
    try:
        limit, used = int((folder / "memory.max").read_text()), int((folder / "memory.current").read_text())
        cached = re.search(r"^file (\d+)$", (folder / "memory.stat").read_text(), re.MULTILINE)
    except (OSError, ValueError):
        return None
    return limit - used + int(cached[1] if cached else 0)


def _cgroup_folders(root=Path("/sys/fs/cgroup")):
    """Yield this process's cgroup folders (version 2, and the cpu controller of version 1) up to the root."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "" or "cpu" in controllers.split(","):
                base = root if controllers == "" else root / "cpu"
                own = base / path.lstrip("/")
                yield from (folder for folder in (own, *own.parents) if folder.is_relative_to(base))


def _read_quota(folder: Path) -> float | None:
    """Return one cgroup's CPU quota in cores, or None where it sets none."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError):
        return None


# systemd's, and that of systems with D-Bus alone.
MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


@cache
def cpu_model() -> str:
    """Return the processor's name as its vendor writes it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return _name_by_lscpu() or _sysctl("machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _name_by_lscpu() -> str | None:
    """Return the name that lscpu knows for an Arm processor's number, of which the kernel tells no more."""
    told = re.search(r"^Model name: *(.*\S)", _said_by("lscpu"), re.MULTILINE)
    return told[1] if told and told[1] != "-" else None


def _sysctl(name: str) -> str | None:
    """Return what macOS says of itself under a name, None elsewhere or where it knows no such name."""
    return _said_by("/usr/sbin/sysctl", "-n", name).strip() or None if platform.system() == "Darwin" else None


def _said_by(*command: str) -> str:
    """Return what a program prints, nothing where it is not there or fails."""
    try:
        return subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL, env=os.environ | {"LC_ALL": "C"})
    except (OSError, subprocess.CalledProcessError):
        return ""


@cache
def cpu_flags() -> frozenset[str]:
    """Return what the kernel says that the processor can do, in its own words; empty where it does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("flags", "Features")):
                return frozenset(line.split(":", 1)[1].split())
    return frozenset()


def sockets() -> int | None:
    """Return the number of processor sockets, or None where the kernel does not tell."""
    packages = {_read(path) for path in _cpu_folder().glob("cpu[0-9]*/topology/physical_package_id")} - {None}
    return len(packages) or int(_sysctl("hw.packages") or 0) or None


def threads_per_core() -> int | None:
    """Return how many threads a core runs at once (simultaneous multithreading), or None where nobody tells."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return round(logical / physical) if physical and logical else None


def numa_nodes() -> int | None:
    """Return the number of NUMA nodes, or None where the kernel does not tell."""
    return len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None


def machine_identity() -> str:
    """Return the identity that the system was installed with; an empty text where it has none."""
    return next((text for path in MACHINE_IDS if (text := _read(path))), "")


def governor() -> str | None:
    """Return the frequency governor, or None where there is none, as in most virtual machines."""
    return _read(_cpu_folder() / "cpu0/cpufreq/scaling_governor")


def _cpu_folder() -> Path:
    return Path("/sys/devices/system/cpu")


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


# Variables by which a user or a scheduler changes threads or memory behind our back.
RELEVANT_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "MKL_NUM_THREADS", "KMP_AFFINITY", "GOMP_CPU_AFFINITY",
    "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD", "SLURM_CPUS_PER_TASK",
)  # fmt: skip


def relevant_environment(further: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment variables that decide threads and memory, and further ones, as they are set."""
    return {name: os.environ[name][:500] for name in (*RELEVANT_VARIABLES, *further) if name in os.environ}


@dataclass(frozen=True)
class Activity:
    """Counters of this process and of the cores it may run on at one moment; subtract two to see what went on.

    Of `cores` that it may run on, a quota or Slurm may grant it `usable` at a time.
    """

    minor_page_faults: int
    involuntary_context_switches: int
    own_cpu_seconds: float
    busy_cpu_seconds: float
    steal_seconds: float | None
    cores: int = 1
    usable: int = 1
    at_seconds: float = 0.0

    def __sub__(self, earlier: "Activity") -> "Activity":
        counters = [field.name for field in fields(self) if field.name not in ("cores", "usable", "steal_seconds")]
        steal = None if self.steal_seconds is None else self.steal_seconds - earlier.steal_seconds
        past = {name: getattr(self, name) - getattr(earlier, name) for name in counters}
        return replace(self, steal_seconds=steal, **past)

    @property
    def other_cpu_seconds(self) -> float:
        """Return what others took of the usable cores: where more may be run on, they take those left over first."""
        left_over = (self.cores - self.usable) * self.at_seconds
        return max(0.0, self.busy_cpu_seconds - self.own_cpu_seconds - left_over)

    @property
    def stolen_seconds(self) -> float | None:
        """Return the usable cores' share of what the hypervisor took; None where the kernel does not tell."""
        return None if self.steal_seconds is None else self.steal_seconds * self.usable / self.cores


def activity() -> Activity:
    """Read the counters now: this process's own from getrusage, its cores' from the kernel's CPU times."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cores = _own_cores()
    steal = [getattr(core, "steal", None) for core in cores]
    return Activity(
        minor_page_faults=usage.ru_minflt,
        involuntary_context_switches=usage.ru_nivcsw,
        own_cpu_seconds=usage.ru_utime + usage.ru_stime,
        busy_cpu_seconds=sum(map(_busy_seconds, cores)),
        steal_seconds=None if None in steal else sum(steal),
        cores=len(cores),
        usable=min(usable_cores(), len(cores)),
        at_seconds=time.monotonic(),
    )


def _own_cores() -> list:
    """Return the CPU times of the cores that this process may run on: a node shared with others has more."""
    every = psutil.cpu_times(percpu=True)
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(len(every))
    return [every[core] for core in own if core < len(every)] or every


def _busy_seconds(core: NamedTuple) -> float:
    kinds = ("user", "nice", "system", "irq", "softirq")
    return sum(getattr(core, kind, 0.0) for kind in kinds)


def load_average() -> float | None:
    """Return the one-minute load average, or None where the system keeps none."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def peak_resident_bytes() -> int:
    """Return the largest resident memory this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
