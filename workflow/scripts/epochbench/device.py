"""One object per kind of device: its clock, its synchronisation, its memory. Nothing else asks which device it is."""

import contextlib
import os
import time
from dataclasses import dataclass

import torch

from epochbench import energy, machine
from epochbench.errors import BenchmarkError
from epochbench.record import Cell, Gpu, GpuState

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Elapsed:
    """Seconds between start and stop: by the wall, synchronised at both ends, and by the device's own events.

    `wait_seconds` is the part of the wall time that the last synchronisation waited for the device.
    """

    wall_seconds: float
    event_seconds: float | None
    wait_seconds: float = 0.0


class CpuDevice:
    """The processor: it works while we wait, so the wall clock is its clock."""

    torch_device = torch.device("cpu")
    backend = "gloo"

    def synchronize(self) -> None:
        """Return once all work given to the device is done; here it always is."""

    def start(self) -> None:
        """Start the stopwatch."""
        self._started = time.perf_counter()

    def stop(self) -> Elapsed:
        """Stop the stopwatch."""
        return Elapsed(time.perf_counter() - self._started, None)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far: the resident memory of this process."""
        return machine.peak_resident_bytes()

    def gpu(self) -> Gpu | None:
        """Return the accelerator's facts; the processor is none."""
        return None

    def gpu_state(self) -> GpuState | None:
        """Return the accelerator's clocks and limits; the processor is none."""
        return None

    def energy_joules(self) -> float | None:
        """Return the accelerator's energy counter; the processor's is the machine's, not one process's."""
        return None

    def tf32_allowed(self) -> bool | None:
        """Tell whether TF32 is on; a processor has none."""
        return None

    def tf32(self, allowed: bool):
        """Return the context in which TF32 is on or off; a processor has none."""
        return contextlib.nullcontext()

    def computes_bf16(self) -> bool:
        """Tell whether the processor computes in bf16, rather than oneDNN imitating it."""
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        return _cpu_flags()


def _cpu_flags() -> dict[str, str]:
    return {
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "oneDNN": str(torch.backends.mkldnn.is_available()),
        "subnormals flushed": str(_flushes_subnormals()),
    }


def _flushes_subnormals() -> bool:
    """Tell whether this processor takes subnormal numbers for zero, by having it halve the smallest normal one."""
    return float(torch.full((1,), torch.finfo(torch.float32).tiny) / 2) == 0.0


class CudaDevice:
    """One CUDA GPU: work is queued, so every reading of a clock waits for the queue first.

    Where torch.accelerator has a word for it, that is used, so that another vendor's device needs little more.
    """

    backend = "nccl"

    def __init__(self, index: int = 0):
        self.torch_device = torch.device("cuda", index)
        torch.accelerator.set_device_index(index)

    def synchronize(self) -> None:
        """Return once all work given to the device is done."""
        torch.accelerator.synchronize(self.torch_device)

    def start(self) -> None:
        """Start the stopwatch once the queue is empty."""
        self._begin, self._end = (torch.Event(self.torch_device, enable_timing=True) for _ in range(2))
        self.synchronize()
        self._started = time.perf_counter()
        self._begin.record()

    def stop(self) -> Elapsed:
        """Stop the stopwatch once the queue is empty; CUDA's events count milliseconds."""
        self._end.record()
        queued = time.perf_counter()
        self.synchronize()
        done = time.perf_counter()
        return Elapsed(done - self._started, self._begin.elapsed_time(self._end) / 1e3, done - queued)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far that tensors held on the device."""
        return torch.accelerator.max_memory_allocated(self.torch_device)

    def gpu(self) -> Gpu:
        """Return the facts of this GPU; the driver's come from NVML, matched by the card's UUID."""
        facts = torch.cuda.get_device_properties(self.torch_device)
        uuid = self._uuid()
        known = [gpu for gpu in machine.gpus() if gpu.uuid == uuid]
        return known[0] if known else Gpu(facts.name, facts.total_memory, None, uuid)

    def gpu_state(self) -> GpuState | None:
        """Return the card's clocks, limits and other processes, None where the driver does not tell."""
        return machine.gpu_state(self._uuid())

    def tf32_allowed(self) -> bool:
        """Tell whether TF32 is on, read back from matrix products and convolutions."""
        return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32

    @contextlib.contextmanager
    def tf32(self, allowed: bool):
        """Compute in or without TF32 for a while."""
        before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        _set_tf32(allowed, allowed)
        try:
            yield
        finally:
            _set_tf32(*before)

    def energy_joules(self) -> float | None:
        """Return the card's energy counter in joules, None where it has none."""
        return energy.gpu_joules(self.torch_device.index)

    def computes_bf16(self) -> bool:
        """Tell whether the card computes in bf16 itself."""
        return torch.cuda.is_bf16_supported(including_emulation=False)

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        cudnn = torch.backends.cudnn
        return {
            "tf32 in matrix products": str(torch.backends.cuda.matmul.allow_tf32),
            "tf32 in cuDNN": str(cudnn.allow_tf32),
            "cuDNN": str(cudnn.version()),
            "cuDNN autotune": str(cudnn.benchmark),
            "cuDNN deterministic": str(cudnn.deterministic),
            **_cpu_flags(),
        }

    def _uuid(self) -> str | None:
        facts = torch.cuda.get_device_properties(self.torch_device)
        return f"GPU-{facts.uuid}" if hasattr(facts, "uuid") else None


def open_device(cell: Cell, index: int = 0):
    """Return the device that a cell trains on, with its arithmetic set as the cell says.

    Raises BenchmarkError where there is no such device: a GPU cell never falls back to the CPU.
    """
    torch.set_flush_denormal(True)
    if cell.device == "cpu":
        device = CpuDevice()
        _require_features(cell, device)
        return device
    if not torch.cuda.is_available() or torch.cuda.device_count() <= index:
        build = "this torch is built without CUDA" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
        raise BenchmarkError(
            f"cell '{cell.cell}': torch sees {torch.cuda.device_count()} GPUs, it needs {index + 1} ({build}, "
            f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); check nvidia-smi and the "
            "driver, or leave GPU cells out with --config devices='{gpu: skip}'"
        )
    _set_tf32(cell.precision == "tf32", cell.precision == "tf32")
    torch.backends.cudnn.benchmark = cell.autotune == "on"
    return CudaDevice(index)


def _set_tf32(in_products: bool, in_cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = in_products
    torch.backends.cudnn.allow_tf32 = in_cudnn


def _require_features(cell: Cell, device: CpuDevice) -> None:
    """Refuse bf16 where oneDNN would only imitate it, many times slower than fp32, and oneDNN where there is none."""
    if cell.precision == "bf16" and not device.computes_bf16():
        raise BenchmarkError(
            f"cell '{cell.cell}': precision bf16, but this processor ({machine.cpu_model()}) has neither AVX-512 "
            "(avx512bw, avx512vl, avx512dq) nor AVX-NE-CONVERT or an Arm equivalent; use fp32"
        )
    if cell.memory_format == "onednn" and not torch.backends.mkldnn.is_available():
        raise BenchmarkError(
            f"cell '{cell.cell}': memory_format onednn, but this torch is built without oneDNN; use channels_last"
        )


@contextlib.contextmanager
def plain_failures(cell: Cell):
    """Tell in the user's words that a cell was too large for the memory, or that its device failed."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise BenchmarkError(_too_large(cell, error)) from error
    except torch.AcceleratorError as error:
        raise BenchmarkError(
            f"cell '{cell.cell}': the GPU failed while it was used ({_first_line(error)}); its other runs are not "
            "lost. See nvidia-smi and the kernel's log for why, then run again"
        ) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise BenchmarkError(_too_large(cell, error)) from error


def _too_large(cell: Cell, error: BaseException) -> str:
    parts = f", micro_batch {cell.micro_batch}" if cell.micro_batch else ""
    return (
        f"cell '{cell.cell}': out of memory with model {cell.model}, batch_size {cell.batch_size}{parts} "
        f"({_first_line(error)}); choose a smaller batch_size, or a micro_batch that fits"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def autocast_type(precision: str) -> torch.dtype | None:
    """Return the type that autocast computes in, None where it does nothing: fp32 and tf32 compute as they are."""
    return AUTOCAST_TYPES.get(precision)


def autocast(device, precision: str):
    """Return the context that computes in a precision on a device."""
    kind = autocast_type(precision)
    return torch.autocast(device.torch_device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)
