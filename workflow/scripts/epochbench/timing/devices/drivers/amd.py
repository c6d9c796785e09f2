"""What AMD's driver tells, without torch: through AMD SMI's own Python package, or else the kernel's files.

Not yet run on real hardware. A field that AMD SMI has no answer to is the word N/A there, and None here.
"""

import contextlib
import os
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from epochbench.timing.devices.drivers import chosen_by
from epochbench.timing.record import Gpu, GpuState

# The kernel's own: a node for each processor and each card, a folder for each PCI device, and the way to a card.
TOPOLOGY, PCI = Path("/sys/class/kfd/kfd/topology/nodes"), Path("/sys/bus/pci/devices")
DEVICE_FILE = Path("/dev/kfd")
DRIVER = Path("/sys/module/amdgpu/version")
# HIP obeys all of them; of a card's own identity it takes the beginning, after this word.
VISIBLE = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
CARD = "GPU-"
# amdgpu_smu.h, SMU_THROTTLER_*_BIT: the first and last bit of each kind of reason; limits of power, of currents, heat.
THROTTLERS = {"power cap": (0, 31), "hardware thermal slowdown": (32, 47)}
UNKNOWN_BITS = 2**64 - 1


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the AMD GPUs that AMD SMI or the kernel shows and HIP's variables do not hide, without torch."""
    with _smi() as smi:
        every = [_gpu(smi, handle) for handle in _handles(smi)] if smi else _nodes()
    return chosen_by(VISIBLE, CARD, every)


def unseen() -> str | None:
    """Return in words why nobody could look for AMD GPUs, None where somebody could."""
    with _smi() as smi:
        if smi or not DEVICE_FILE.exists():
            return None
    return None if TOPOLOGY.is_dir() else f"{DEVICE_FILE} is here, but neither AMD SMI nor {TOPOLOGY}"


@contextlib.contextmanager
def _smi() -> Iterator[ModuleType | None]:
    """Open AMD SMI for a while; None where there is no such package or no driver."""
    try:
        import amdsmi

        amdsmi.amdsmi_init()
    except Exception:  # it raises KeyError and OSError too, where its library is missing
        yield None
        return
    try:
        yield amdsmi
    finally:
        amdsmi.amdsmi_shut_down()


def _handles(smi: ModuleType) -> list:
    return told(smi.amdsmi_get_processor_handles) or []


def told(ask: Callable, *arguments: object) -> Any:
    """Return AMD SMI's answer, or None where this card or driver has none; the word N/A is none."""
    try:
        answer = ask(*arguments)
    except Exception:  # AmdSmiException, and what its wrapper raises where the library is of another version
        return None
    return None if answer == "N/A" else answer


def _field(answer: dict | None, *names: str) -> Any:
    """Return the first of some fields that an answer has: their names change from version to version."""
    found = [(answer or {}).get(name) for name in names]
    return next((value for value in found if value not in (None, "N/A")), None)


def _gpu(smi: ModuleType, handle: object) -> Gpu:
    facts = told(smi.amdsmi_get_gpu_asic_info, handle)
    serial = str(_field(facts, "asic_serial") or "").removeprefix("0x").lower()
    return Gpu(
        name=_field(facts, "market_name") or "AMD GPU",
        memory_bytes=told(smi.amdsmi_get_gpu_memory_total, handle, smi.AmdSmiMemoryType.VRAM) or 0,
        driver=_field(told(smi.amdsmi_get_gpu_driver_info, handle), "driver_version"),
        uuid=CARD + serial if serial else None,
    )


def _nodes() -> list[Gpu]:
    """Return the cards that the kernel shows; a node without compute units is a processor."""
    folders = sorted(TOPOLOGY.glob("[0-9]*"), key=lambda path: int(path.name))
    facts = {path: _numbers(path / "properties") for path in folders}
    return [_node(path, each) for path, each in facts.items() if each.get("simd_count")]


def _node(path: Path, facts: dict[str, int]) -> Gpu:
    banks = [_numbers(bank) for bank in path.glob("mem_banks/*/properties")]
    place = facts.get("location_id", 0)
    address = f"{facts.get('domain', 0):04x}:{place >> 8:02x}:{place >> 3 & 31:02x}.{place & 7}"
    target = facts.get("gfx_target_version", 0)
    architecture = f"gfx{target // 10000}{target // 100 % 100:x}{target % 100:x}"
    return Gpu(
        name=_read(PCI / address / "product_name") or f"AMD GPU {architecture}",
        memory_bytes=sum(bank.get("size_in_bytes", 0) for bank in banks),
        driver=_read(DRIVER),
        uuid=f"{CARD}{facts['unique_id']:016x}" if facts.get("unique_id") else None,
    )


def _numbers(path: Path) -> dict[str, int]:
    """Return the kernel's pairs of a name and a number, a line each."""
    pairs = [line.split() for line in (_read(path) or "").splitlines()]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def found_as(name: str, identity: str, memory_bytes: int) -> Gpu:
    """Return the GPU of which torch tells these facts, in the driver's words where it tells of that GPU.

    Torch's identity of a card holds the letters of AMD's own, as the numbers that they are.
    """
    every = gpus()
    same = [gpu for gpu in every if gpu.uuid and _serial(identity) == gpu.uuid.removeprefix(CARD)]
    alone = [gpu for gpu in every if len(every) == 1]
    return (same or alone or [Gpu(name, memory_bytes, None, None)])[0]


def _serial(identity: str) -> str:
    """Return the text that a UUID of sixteen letters is made of; an empty one where it is no such."""
    with contextlib.suppress(ValueError):
        return bytes.fromhex(identity.replace("-", "")).decode("ascii", "replace").lower()
    return ""


def _handle_of(smi: ModuleType, uuid: str | None) -> object | None:
    """Return AMD SMI's handle of a card, None where it is not told from others: parts of a card share an identity."""
    same = [handle for handle in _handles(smi) if uuid and _gpu(smi, handle).uuid == uuid]
    return same[0] if len(same) == 1 else None


def gpu_state(uuid: str | None, own: Collection[int] = ()) -> GpuState | None:
    """Return what the driver says of one card now; None without AMD SMI, and a field None where it does not tell.

    `own` are the processes there that are ours, by default this one.
    """
    with _smi() as smi:
        handle = _handle_of(smi, uuid) if smi else None
        return None if handle is None else state_of(smi, handle, own or {os.getpid()})


def state_of(smi: ModuleType, handle: object, own: Collection[int]) -> GpuState:
    """Return what AMD SMI says of a card now, a field None where it does not tell; `own` processes are no others."""
    kinds, sensor = smi.AmdSmiClkType, (smi.AmdSmiTemperatureType.JUNCTION, smi.AmdSmiTemperatureMetric.CURRENT)
    cap = _field(told(smi.amdsmi_get_power_cap_info, handle), "power_cap")  # microwatts
    bits = _field(told(smi.amdsmi_get_gpu_metrics_info, handle), "indep_throttle_status")
    return GpuState(
        sm_clock_mhz=_clock(smi, handle, kinds.GFX, "clk", "cur_clk"),
        memory_clock_mhz=_clock(smi, handle, kinds.MEM, "clk", "cur_clk"),
        temperature_celsius=told(smi.amdsmi_get_temp_metric, handle, *sensor),
        power_limit_watts=cap / 1e6 if cap else None,
        throttle_reasons=None if bits in (None, UNKNOWN_BITS) else throttle_names(bits),
        processes=_others(told(smi.amdsmi_get_gpu_process_list, handle), own),
    )


def _clock(smi: ModuleType, handle: object, kind: object, *names: str) -> int | None:
    return _field(told(smi.amdsmi_get_clock_info, handle, kind), *names)


def _others(processes: list | None, own: Collection[int]) -> int | None:
    """Return how many of the processes on a card are not ours; older versions tell of them by handles alone."""
    if processes is None or not all(isinstance(process, dict) for process in processes):
        return None
    pids = [process.get("pid") for process in processes]
    # In a container the driver may tell the host's numbers, of which none is known to be ours: then as many are.
    return max(0, len(pids) - (sum(pid in own for pid in pids) or len(own)))


def throttle_names(bits: int) -> list[str]:
    """Return the names of the kinds of reasons that hold the clocks down."""
    named = [name for name, (first, last) in THROTTLERS.items() if bits >> first & (2 ** (last - first + 1) - 1)]
    return named + (["another limit"] if bits >> 48 else [])


def energy_joules(uuid: str | None) -> float | None:
    """Return what a card has taken since its driver was loaded, in joules; None where it does not count.

    Some cards count for the first of two dies alone, and the other's counter stands still: whoever takes the difference
    must take a counter that did not grow for unknown.
    """
    with _smi() as smi:
        handle = _handle_of(smi, uuid) if smi else None
        count = None if handle is None else told(smi.amdsmi_get_energy_count, handle)
    ticks, microjoules = _field(count, "energy_accumulator", "power"), _field(count, "counter_resolution")
    return None if None in (ticks, microjoules) else ticks * microjoules / 1e6


@contextlib.contextmanager
def looking(uuid: str, own: Collection[int]) -> Iterator["Look"]:
    """Look at a card from a process of its own; `own` are those that train. Needs AMD SMI."""
    with _smi() as smi:
        yield Look(smi, _handle_of(smi, uuid), own)


class Look:
    """A card that is looked at again and again."""

    def __init__(self, smi: ModuleType, handle: object, own: Collection[int]):
        self.smi, self.handle, self.own = smi, handle, own

    def now(self) -> tuple[GpuState, float | None, bool]:
        """Return the card's state now, the watts that it takes, and whether it is idle."""
        power = told(self.smi.amdsmi_get_power_info, self.handle)
        busy = _field(told(self.smi.amdsmi_get_gpu_activity, self.handle), "gfx_activity")
        watts = _field(power, "current_socket_power", "average_socket_power", "socket_power")
        return state_of(self.smi, self.handle, self.own), watts or None, busy == 0

    def most_mhz(self) -> int | None:
        """Return the highest clock that the card has."""
        return _clock(self.smi, self.handle, self.smi.AmdSmiClkType.GFX, "max_clk")

    def violations(self) -> None:
        """Return None: how long a limit held the card back is not counted on every card."""
