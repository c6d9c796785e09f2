"""The processor: it works while we wait, so the wall clock is its clock."""

import platform
import time
from collections.abc import Iterable, MutableMapping
from dataclasses import replace

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device, Elapsed
from epochbench.timing.devices import kinds
from epochbench.timing.machine import host, torch_files
from epochbench.timing.record import Gpu

SERVES = "cpu"
# Any of these computes in bf16, by the kernel's names: what oneDNN asks for on x86 (every processor with AVX512-BF16 or
# AMX has the first), and Arm's own.
BF16_FLAGS = ({"avx512bw", "avx512vl", "avx512dq"}, {"avx_ne_convert"}, {"bf16"})


def find() -> tuple[Gpu, ...]:
    """Return no accelerator."""
    return ()


def lacks(cell: Cell, flags: frozenset[str] | None = None) -> str | None:
    """Return what this processor, system or torch lacks to run a cell; None where they lack nothing."""
    flags = host.cpu_flags() if flags is None else flags
    if cell.precision == "bf16" and not any(needed <= flags for needed in BF16_FLAGS):
        return "this processor does not compute in bf16" if flags else "nobody tells whether this processor has bf16"
    if cell.allocator == "tuned" and platform.libc_ver()[0] != "glibc":
        return "allocator tuned is a setting of glibc, which this system does not have"
    if cell.memory_format == "onednn" and torch_files.lacks_onednn():
        return "torch here is built without oneDNN"
    return None


def as_this_system_has(cells: Iterable[Cell]) -> list[Cell]:
    """Return a sheet's cells as this system can have them, in their order.

    Without glibc a row that asks for `tuned` and more keeps what it has beside, with the allocator as it comes. One
    that would then be a row that there is already stays as it is, and cannot be run.
    """
    cells = list(cells)
    if platform.libc_ver()[0] == "glibc":
        return cells
    there = {replace(cell, cell="") for cell in cells}
    found = []
    for cell in cells:
        plain = replace(cell, allocator="system")
        found.append(cell if replace(plain, cell="") in there else plain)
        there.add(replace(found[-1], cell=""))
    return found


def prepare(environment: MutableMapping[str, str]) -> None:
    """Hide every accelerator that can be hidden, so that none can be used by mistake."""
    for kind in kinds("gpu"):
        if hasattr(kind, "hide"):
            kind.hide(environment)


def open_device(cell: Cell, index: int = 0) -> "CpuDevice":
    """Return the processor. Raises BenchmarkError for a precision or layout that it or this torch lacks."""
    import torch

    torch.set_flush_denormal(True)
    device = CpuDevice()
    if cell.precision == "bf16" and not device.computes_bf16():
        raise BenchmarkError(
            f"cell '{cell.cell}': precision bf16, but this processor ({host.cpu_model()}) has neither AVX-512 "
            "(avx512bw, avx512vl, avx512dq) nor AVX-NE-CONVERT or an Arm equivalent; use fp32"
        )
    if cell.memory_format == "onednn" and not torch.backends.mkldnn.is_available():
        raise BenchmarkError(
            f"cell '{cell.cell}': memory_format onednn, but this torch is built without oneDNN; use channels_last"
        )
    return device


class CpuDevice(Device):
    """The processor."""

    precisions = ("fp32", "bf16")

    def __init__(self):
        import torch

        self.torch_device = torch.device("cpu")

    def synchronize(self) -> None:
        """Return at once: a processor is done when its function returns."""

    def start(self) -> None:
        """Start the stopwatch."""
        self._started = time.perf_counter()

    def stop(self) -> Elapsed:
        """Stop the stopwatch."""
        return Elapsed(time.perf_counter() - self._started, None)

    def peak_memory_bytes(self) -> int:
        """Return the largest resident memory of this process."""
        return host.peak_resident_bytes()

    def computes_bf16(self) -> bool:
        """Tell whether the processor computes in bf16, rather than oneDNN imitating it many times slower than fp32."""
        import torch

        # Where torch is built without oneDNN it has no such operator.
        return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels."""
        return host_flags()


def host_flags() -> dict[str, str]:
    """Return what decides the processor's arithmetic and kernels, read back from torch."""
    import torch

    return {
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "oneDNN": str(torch.backends.mkldnn.is_available()),
        "subnormals flushed": str(_flushes_subnormals()),
    }


def _flushes_subnormals() -> bool:
    """Tell whether this processor takes subnormal numbers for zero, by having it halve the smallest normal one."""
    import torch

    return float(torch.full((1,), torch.finfo(torch.float32).tiny) / 2) == 0.0
