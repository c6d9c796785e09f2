"""What NVIDIA's driver tells, through NVML and without torch; where there is no NVML, nvidia-smi tells of the cards."""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from functools import cache
from types import ModuleType
from typing import Any

import psutil

from epochbench.timing.devices.drivers import nvidia_smi
from epochbench.timing.record import Gpu, GpuState

# What a UUID begins with: that of a whole card, or of a part of one (a MIG instance), whose name has the word too.
UUID_WORDS = CARD, PART = ("GPU-", "MIG-")
PART_NAME = "MIG"
# nvml.h, nvmlPerfPolicyType_t: what the driver counts the nanoseconds of.
VIOLATIONS = {"power": 0, "thermal": 1, "sync boost": 2, "board limit": 3, "reliability": 5}


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the NVIDIA GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide, without torch.

    Of a card that is divided these are its parts. An empty tuple where there is no driver, no GPU, or all are hidden.
    """
    if _all_hidden():
        return ()
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    with _driver() as pynvml:
        if pynvml is None:
            return _visible([(gpu, gpu.uuid) for gpu in nvidia_smi.look()[0]], chosen)
        every = range(pynvml.nvmlDeviceGetCount())
        return _visible([found for index in every for found in _devices(pynvml, index)], chosen)


def found_as(name: str, identity: str, memory_bytes: int) -> Gpu:
    """Return the GPU of which CUDA tells these facts, in the driver's words where it tells of that GPU.

    CUDA may tell of a part its card's identity: then it is the part that alone is to be seen. A part is never taken for
    its card.
    """
    part = PART_NAME in name.split()
    every = [gpu for gpu in gpus() if (gpu.uuid or "").startswith(PART) == part]
    same = [gpu for gpu in every if gpu.uuid in (CARD + identity, PART + identity)]
    if same or (part and len(every) == 1):
        return (same or every)[0]
    return Gpu(name, memory_bytes, None, CARD + identity if identity and not part else None)


def unseen() -> str | None:
    """Return in words why nobody could look for GPUs, None where somebody could."""
    with _driver() as pynvml:
        return None if pynvml or _all_hidden() else nvidia_smi.look()[1]


def _all_hidden() -> bool:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")


def _visible(every: list[tuple[Gpu, str | None]], chosen: str | None) -> tuple[Gpu, ...]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES names by UUID, of which a beginning is enough, or by that of the card.

    `every` has each GPU and its card's UUID. Numbers hide none here: CUDA counts the cards in another order than NVML,
    so that nobody knows which they mean.
    """
    names = [name.strip() for name in (chosen or "").split(",")]
    if not names[0].startswith(UUID_WORDS):
        return tuple(gpu for gpu, _ in every)
    return tuple(
        gpu
        for name in names
        for gpu, card in every
        if name and any((uuid or "").startswith(name) for uuid in (gpu.uuid, card))
    )


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


def _devices(pynvml, index: int) -> Iterator[tuple[Gpu, str]]:
    """Yield a card, or the parts that it is divided into, since nobody can use all of it then; and the card's UUID."""
    card = pynvml.nvmlDeviceGetHandleByIndex(index)
    uuid = pynvml.nvmlDeviceGetUUID(card)
    mode = told(pynvml, pynvml.nvmlDeviceGetMigMode, card)
    if not mode or not mode[0]:
        yield _gpu(pynvml, card, pynvml.nvmlDeviceGetName(card)), uuid
        return
    for number in range(told(pynvml, pynvml.nvmlDeviceGetMaxMigDeviceCount, card) or 0):
        part = told(pynvml, pynvml.nvmlDeviceGetMigDeviceHandleByIndex, card, number)
        if part is not None:  # as many as there may be, of which some are not made
            yield _gpu(pynvml, part, _name_of_part(pynvml, part, card)), uuid


def _name_of_part(pynvml, part, card) -> str:
    """Return a name that says how much of a card a part is, as newer drivers do: NVIDIA H100 MIG 1g.10gb."""
    name = told(pynvml, pynvml.nvmlDeviceGetName, part) or pynvml.nvmlDeviceGetName(card)
    if PART_NAME in name.split():
        return name
    facts = told(pynvml, pynvml.nvmlDeviceGetAttributes, part)
    size = f" {facts.gpuInstanceSliceCount}g.{round(facts.memorySizeMB / 1024)}gb" if facts else ""
    return f"{name} {PART_NAME}{size}"


def _gpu(pynvml, handle, name: str) -> Gpu:
    memory = told(pynvml, pynvml.nvmlDeviceGetMemoryInfo, handle)  # untold where it is the machine's own
    return Gpu(
        name=name,
        memory_bytes=memory.total if memory else psutil.virtual_memory().total,
        driver=pynvml.nvmlSystemGetDriverVersion(),
        uuid=pynvml.nvmlDeviceGetUUID(handle),
    )


def gpu_state(uuid: str | None, own: Collection[int] = ()) -> GpuState | None:
    """Return what the driver says of one card now; None without NVML, and a field None where it does not tell.

    `own` are the processes there that are ours, by default this one.
    """
    if uuid is None or not gpus():
        return None
    with _driver() as pynvml:
        handle = told(pynvml, pynvml.nvmlDeviceGetHandleByUUID, uuid) if pynvml else None
        return None if handle is None else state_of(pynvml, handle, own or {os.getpid()})


def state_of(pynvml: ModuleType, handle: object, own: Collection[int]) -> GpuState:
    """Return what NVML says of a card now, a field None where it does not tell; `own` processes are no others.

    A part has its card's clocks, and processes of its own.
    """
    card = card_of(pynvml, handle)
    limit = told(pynvml, pynvml.nvmlDeviceGetPowerManagementLimit, card)
    reasons = told(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, card)
    processes = told(pynvml, pynvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return GpuState(
        sm_clock_mhz=told(pynvml, pynvml.nvmlDeviceGetClockInfo, card, pynvml.NVML_CLOCK_SM),
        memory_clock_mhz=told(pynvml, pynvml.nvmlDeviceGetClockInfo, card, pynvml.NVML_CLOCK_MEM),
        temperature_celsius=told(pynvml, pynvml.nvmlDeviceGetTemperature, card, pynvml.NVML_TEMPERATURE_GPU),
        power_limit_watts=None if limit is None else limit / 1000,
        throttle_reasons=None if reasons is None else throttle_names(pynvml, reasons),
        processes=None if processes is None else _others([process.pid for process in processes], own),
    )


def card_of(pynvml: ModuleType, handle: object) -> object:
    """Return the card of a part, or the card itself, of which NVML refuses to tell one."""
    return told(pynvml, pynvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle, handle) or handle


def _others(pids: list[int], own: Collection[int]) -> int:
    """Return how many of the processes on a card are not ours.

    In a container the driver may tell the host's numbers, of which none is known to be ours: then as many are.
    """
    return max(0, len(pids) - (sum(pid in own for pid in pids) or len(own)))


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


@contextlib.contextmanager
def looking(uuid: str, own: Collection[int]) -> Iterator["Look"]:
    """Look at a card from a process of its own; `own` are those that train. Raises where NVML does not tell."""
    import pynvml

    pynvml.nvmlInit()
    yield Look(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid), own)


class Look:
    """A card that is looked at again and again."""

    def __init__(self, pynvml: ModuleType, handle: object, own: Collection[int]):
        self.pynvml, self.handle, self.card, self.own = pynvml, handle, card_of(pynvml, handle), own

    def now(self) -> tuple[GpuState, float | None, bool]:
        """Return the card's state now, the watts that it takes, and whether it says that it is idle."""
        pynvml = self.pynvml
        milliwatts = told(pynvml, pynvml.nvmlDeviceGetPowerUsage, self.handle)
        reasons = told(pynvml, pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, self.card) or 0
        idle = bool(reasons & pynvml.nvmlClocksThrottleReasonGpuIdle)
        return state_of(pynvml, self.handle, self.own), None if milliwatts is None else milliwatts / 1000, idle

    def most_mhz(self) -> int | None:
        """Return the highest clock that the card has."""
        return told(self.pynvml, self.pynvml.nvmlDeviceGetMaxClockInfo, self.card, self.pynvml.NVML_CLOCK_SM)

    def violations(self) -> dict[str, float] | None:
        """Return the seconds so far in which each kind of limit held the card back; None where none are counted."""
        pynvml = self.pynvml
        counts = {
            kind: told(pynvml, pynvml.nvmlDeviceGetViolationStatus, self.card, policy)
            for kind, policy in VIOLATIONS.items()
        }
        return {kind: count.violationTime / 1e9 for kind, count in counts.items() if count is not None} or None
