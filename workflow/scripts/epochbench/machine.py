"""What this machine is, and what it does while we time. Nothing here imports torch."""

import contextlib
import hashlib
import math
import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

from epochbench.record import Gpu, GpuState


def usable_cores() -> int:
    """Return how many cores this process may keep busy: affinity, cgroup quota and Slurm's grant, the least of them."""
    limits = [_affinity(), _cgroup_quota(), os.environ.get("SLURM_CPUS_PER_TASK")]
    return max(1, min(int(limit) for limit in limits if limit))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cgroup_quota() -> int | None:
    """Return the CPU quota of this process's cgroup in whole cores, rounded down but at least 1; None if unlimited."""
    quotas = [quota for folder in _cgroup_folders() if (quota := _read_quota(folder))]
    return max(1, math.floor(min(quotas))) if quotas else None


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


@cache
def cpu_model() -> str:
    """Return the processor's name as its vendor writes it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    if platform.system() == "Darwin":
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            return subprocess.check_output(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], text=True).strip()
    return platform.processor() or platform.machine()


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide, without torch.

    An empty tuple where there is no driver, no GPU, or all are hidden.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.strip() in ("", "-1"):
        return ()
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        return ()
    try:
        return tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    finally:
        pynvml.nvmlShutdown()


def _gpu(pynvml, index: int) -> Gpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    return Gpu(
        name=pynvml.nvmlDeviceGetName(handle),
        memory_bytes=pynvml.nvmlDeviceGetMemoryInfo(handle).total,
        driver=pynvml.nvmlSystemGetDriverVersion(),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
    )


def gpu_state(uuid: str | None) -> GpuState | None:
    """Return what the driver says of one card now; None without NVML, and a field None where it does not tell."""
    if uuid is None or not gpus():
        return None
    import pynvml

    pynvml.nvmlInit()
    try:
        handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
        own = os.getpid()
        limit = _told(pynvml, pynvml.nvmlDeviceGetPowerManagementLimit, handle)
        reasons = _told(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        processes = _told(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
        return GpuState(
            sm_clock_mhz=_told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            memory_clock_mhz=_told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            temperature_celsius=_told(pynvml, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            power_limit_watts=None if limit is None else limit / 1000,
            throttle_reasons=None if reasons is None else _throttle_names(pynvml, reasons),
            processes=None if processes is None else sum(process.pid != own for process in processes),
        )
    finally:
        pynvml.nvmlShutdown()


def _told(pynvml, ask, *arguments):
    """Return NVML's answer, or None where this card or driver has none."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def _throttle_names(pynvml, reasons: int) -> list[str]:
    """Return the names of the bits that hold the clocks down; being idle or at a chosen clock is none."""
    names = {
        "power cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
        "hardware slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
        "software thermal slowdown": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
        "hardware thermal slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        "hardware power brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    return [name for name, bit in names.items() if reasons & bit]


def sockets() -> int | None:
    """Return the number of processor sockets, or None where the kernel does not tell."""
    found = {_read(path) for path in _cpu_folder().glob("cpu[0-9]*/topology/physical_package_id")}
    return len(found - {None}) or None


def threads_per_core() -> int | None:
    """Return how many threads a core runs at once (simultaneous multithreading), or None where nobody tells."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return round(logical / physical) if physical and logical else None


def numa_nodes() -> int | None:
    """Return the number of NUMA nodes, or None where the kernel does not tell."""
    return len(list(Path("/sys/devices/system/node").glob("node[0-9]*"))) or None


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
TELLING_VARIABLES = (
    "OMP_NUM_THREADS", "OMP_PROC_BIND", "OMP_PLACES", "MKL_NUM_THREADS", "KMP_AFFINITY", "GOMP_CPU_AFFINITY",
    "GLIBC_TUNABLES", "MALLOC_ARENA_MAX", "LD_PRELOAD", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE",
    "PYTORCH_CUDA_ALLOC_CONF", "SLURM_CPUS_PER_TASK",
)  # fmt: skip


def telling_environment() -> dict[str, str]:
    """Return the environment variables that decide threads and memory, as they are set."""
    return {name: os.environ[name][:500] for name in TELLING_VARIABLES if name in os.environ}


def fingerprint() -> str:
    """Return one short word for this machine's timing-relevant hardware: processor, cores, memory, GPUs, host."""
    gigabytes = round(psutil.virtual_memory().total / 2**30)
    facts = [platform.node(), platform.machine(), cpu_model(), str(_affinity()), str(gigabytes)]
    facts += [f"{gpu.name} {gpu.memory_bytes}" for gpu in gpus()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Activity:
    """Counters of this process and of the whole machine at one moment; subtract two to see what went on between."""

    minor_page_faults: int
    involuntary_context_switches: int
    own_cpu_seconds: float
    busy_cpu_seconds: float
    steal_seconds: float | None

    def __sub__(self, earlier: "Activity") -> "Activity":
        steal = None if self.steal_seconds is None else self.steal_seconds - earlier.steal_seconds
        return Activity(
            self.minor_page_faults - earlier.minor_page_faults,
            self.involuntary_context_switches - earlier.involuntary_context_switches,
            self.own_cpu_seconds - earlier.own_cpu_seconds,
            self.busy_cpu_seconds - earlier.busy_cpu_seconds,
            steal,
        )


def activity() -> Activity:
    """Read the counters now: this process's own from getrusage, the machine's from the kernel's CPU times."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    times = psutil.cpu_times()
    busy = times.user + times.system + getattr(times, "irq", 0.0) + getattr(times, "softirq", 0.0)
    return Activity(
        minor_page_faults=usage.ru_minflt,
        involuntary_context_switches=usage.ru_nivcsw,
        own_cpu_seconds=usage.ru_utime + usage.ru_stime,
        busy_cpu_seconds=busy + times.nice,
        steal_seconds=getattr(times, "steal", None),
    )


def load_average() -> float | None:
    """Return the one-minute load average, or None where the system keeps none."""
    with contextlib.suppress(OSError, AttributeError):
        return os.getloadavg()[0]
    return None


def peak_resident_bytes() -> int:
    """Return the largest resident memory this process has had, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024
