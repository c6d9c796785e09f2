"""What NVIDIA's driver tells, through NVML and without torch."""

import os
from functools import cache

from epochbench.timing.record import Gpu, GpuState


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


def energy_joules(index: int) -> float | None:
    """Return what a GPU has taken since its driver was loaded, in joules; None where the card does not count."""
    # Imported here, since CPU cells and the Snakefile need none of it.
    from zeus.device.gpu import ZeusGPUInitError, get_gpus
    from zeus.exception import ZeusBaseError

    try:
        gpus = get_gpus()
        if not gpus.supports_get_total_energy_consumption(index):
            return None
        return gpus.get_total_energy_consumption(index) / 1e3
    except (ZeusGPUInitError, ZeusBaseError, IndexError):
        return None
