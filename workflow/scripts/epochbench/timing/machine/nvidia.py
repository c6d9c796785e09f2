"""What NVIDIA's driver tells, through NVML and without torch; where there is no NVML, nvidia-smi tells of the cards."""

import contextlib
import os
from collections.abc import Callable, Container, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from epochbench.timing.machine import smi
from epochbench.timing.record import Gpu, GpuState

# What a UUID begins with: that of a whole card, or of a part of one.
UUID_WORDS = ("GPU-", "MIG-")


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide, without torch.

    An empty tuple where there is no driver, no GPU, or all are hidden.
    """
    if _all_hidden():
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    with _driver() as pynvml:
        if pynvml is None:
            return _visible(smi.look()[0], chosen)
        return _visible(tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount())), chosen)


def unseen() -> str | None:
    """Return in words why nobody could look for GPUs, None where somebody could."""
    with _driver() as pynvml:
        return None if pynvml or _all_hidden() else smi.look()[1]


def _all_hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def _visible(every: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """Return the cards that CUDA_VISIBLE_DEVICES names by UUID, of which a beginning is enough.

    Numbers hide none here: CUDA counts the cards in another order than NVML, so that nobody knows which they mean.
    """
    names = [name.strip() for name in (chosen or "").split(",")]
    if not names[0].startswith(UUID_WORDS):
        return every
    return tuple(gpu for name in names for gpu in every if name and (gpu.uuid or "").startswith(name))


@contextlib.contextmanager
def _driver() -> Iterator[ModuleType | None]:
    """Open NVML for a while; None where there is no such library or no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:
        yield None
        return
    try:
        yield pynvml
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
    with _driver() as pynvml:
        return state_of(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid), {os.getpid()}) if pynvml else None


def state_of(pynvml: ModuleType, handle: object, own: Container[int]) -> GpuState:
    """Return what NVML says of a card now, a field None where it does not tell; `own` processes are no others."""
    limit = told(pynvml, pynvml.nvmlDeviceGetPowerManagementLimit, handle)
    reasons = told(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    processes = told(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return GpuState(
        sm_clock_mhz=told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=told(pynvml, pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        temperature_celsius=told(pynvml, pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        power_limit_watts=None if limit is None else limit / 1000,
        throttle_reasons=None if reasons is None else throttle_names(pynvml, reasons),
        processes=None if processes is None else _others([process.pid for process in processes], own),
    )


def _others(pids: list[int], own: Container[int]) -> int:
    """Return how many of the processes on a card are not ours.

    In a container the driver may tell the host's numbers, of which none is known to be ours: then one of them is.
    """
    return max(0, len(pids) - max(1, sum(pid in own for pid in pids)))


def told(pynvml: ModuleType, ask: Callable, *arguments: object) -> Any:
    """Return NVML's answer, or None where this card or driver has none."""
    try:
        return ask(*arguments)
    except pynvml.NVMLError:
        return None


def throttle_names(pynvml: ModuleType, reasons: int) -> list[str]:
    """Return the names of the bits that hold the clocks down; being idle or at a chosen clock is none."""
    names = {
        "power cap": pynvml.nvmlClocksThrottleReasonSwPowerCap,
        "hardware slowdown": pynvml.nvmlClocksThrottleReasonHwSlowdown,
        "software thermal slowdown": pynvml.nvmlClocksThrottleReasonSwThermalSlowdown,
        "hardware thermal slowdown": pynvml.nvmlClocksThrottleReasonHwThermalSlowdown,
        "hardware power brake": pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown,
    }
    return [name for name, bit in names.items() if reasons & bit]


def energy_joules(uuid: str | None) -> float | None:
    """Return what a card has taken since its driver was loaded, in joules; None where it does not count.

    The card is found by its UUID: CUDA and NVML count the cards in orders of their own.
    """
    if uuid is None or not gpus():
        return None
    with _driver() as pynvml:
        if pynvml is None:
            return None
        millijoules = told(
            pynvml, lambda: pynvml.nvmlDeviceGetTotalEnergyConsumption(pynvml.nvmlDeviceGetHandleByUUID(uuid))
        )
        return None if millijoules is None else millijoules / 1e3
