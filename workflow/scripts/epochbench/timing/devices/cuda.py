"""NVIDIA GPUs: work is queued, so every reading of a clock waits for the queue first.

Where torch.accelerator has a word for it, that is used, so that another vendor's device needs little more.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, MutableMapping
from functools import cache
from importlib import metadata
from typing import TYPE_CHECKING

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device, Elapsed
from epochbench.timing.devices.cpu import host_flags
from epochbench.timing.machine import nvidia
from epochbench.timing.machine.watch import Watching, watched
from epochbench.timing.record import Gpu, GpuState

if TYPE_CHECKING:
    import torch

SERVES = "gpu"
# PyTorch's own advice before a capture: a few steps on a side stream.
GRAPH_WARMUP_STEPS = 3
# What a kernel's time depends on; their names end in CUDA's number, or do not.
PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cudnn", "nvidia-cublas", "nvidia-nccl", "triton")


def find() -> tuple[Gpu, ...]:
    """Return the GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide."""
    return nvidia.gpus()


def unseen() -> str | None:
    """Return why neither NVML nor nvidia-smi could look for GPUs, None where one could."""
    return nvidia.unseen()


def installed() -> dict[str, object]:
    """Return the cards' drivers and power limits, and the versions of CUDA's packages."""
    cards = find()
    if not cards:
        return {}
    states = [nvidia.gpu_state(gpu.uuid) for gpu in cards]
    return {
        "drivers": [gpu.driver or "unknown" for gpu in cards],
        "power limits": [state.power_limit_watts if state else None for state in states],
        "packages": _packages(),
    }


@cache
def _packages() -> dict[str, str]:
    """Return the versions of CUDA's packages beside torch; there are none where torch brings its own."""
    found = {}
    for package in metadata.distributions():
        with contextlib.suppress(metadata.PackageNotFoundError, KeyError, TypeError):  # half installed
            if str(package.metadata["Name"]).startswith(PACKAGES):
                found[package.metadata["Name"]] = package.version
    return dict(sorted(found.items()))


def prepare(environment: MutableMapping[str, str]) -> None:
    """Change nothing: torch finds the GPUs by itself."""


def open_device(cell: Cell, index: int = 0) -> "CudaDevice":
    """Return a GPU. Raises BenchmarkError where torch sees none."""
    import torch

    torch.set_flush_denormal(True)
    if not torch.cuda.is_available() or torch.cuda.device_count() <= index:
        build = "this torch is built without CUDA" if torch.version.cuda is None else f"CUDA {torch.version.cuda}"
        raise BenchmarkError(
            f"cell '{cell.cell}': torch sees {torch.cuda.device_count()} GPUs, it needs {index + 1} ({build}, "
            f"CUDA_VISIBLE_DEVICES is {os.environ.get('CUDA_VISIBLE_DEVICES', 'not set')}); check nvidia-smi and the "
            "driver, or leave GPU cells out with --config devices='{gpu: skip}'"
        )
    device = CudaDevice(index)
    device.set_tf32(*[cell.precision == "tf32"] * 2)
    torch.backends.cudnn.benchmark = cell.autotune == "on"
    return device


class CudaDevice(Device):
    """One NVIDIA GPU."""

    precisions = ("fp32", "tf32", "bf16", "fp16")
    can_capture = True
    backend = "nccl"
    product_sizes = (8192,)
    copy_bytes = 2**31
    shared_by_team = False

    def __init__(self, index: int = 0):
        import torch

        self.torch = torch
        self.torch_device = torch.device("cuda", index)
        self._side = None
        torch.accelerator.set_device_index(index)

    def synchronize(self) -> None:
        """Return once the queue is empty."""
        self.torch.accelerator.synchronize(self.torch_device)

    def start(self) -> None:
        """Start the stopwatch once the queue is empty."""
        self._begin, self._end = (self.torch.Event(self.torch_device, enable_timing=True) for _ in range(2))
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
        return self.torch.accelerator.max_memory_allocated(self.torch_device)

    def free_memory_bytes(self) -> int:
        """Return the card's memory that nobody holds."""
        return self.torch.cuda.mem_get_info(self.torch_device)[0]

    def pinned(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Return a tensor in memory that the kernel keeps in place, so that the card copies it while others work."""
        return tensor.pin_memory()

    def ahead(self, work: Callable[[], tuple]) -> Callable[[], tuple]:
        """Begin some work on a stream of its own; whoever takes its tensors has the main stream wait for it."""
        self._side = self._side or self.torch.cuda.Stream(self.torch_device)
        with self.torch.cuda.stream(self._side):
            tensors = work()
            done = self._side.record_event()

        def taken() -> tuple:
            main = self.torch.cuda.current_stream(self.torch_device)
            main.wait_event(done)
            for tensor in tensors:
                tensor.record_stream(main)  # its memory is not used again before the step that reads it is done
            return tensors

        return taken

    def computes_bf16(self) -> bool:
        """Tell whether the card computes in bf16 itself."""
        return self.torch.cuda.is_bf16_supported(including_emulation=False)

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        cudnn = self.torch.backends.cudnn
        return {
            "tf32 in matrix products": str(self.torch.backends.cuda.matmul.allow_tf32),
            "tf32 in cuDNN": str(cudnn.allow_tf32),
            "cuDNN": str(cudnn.version()),
            "cuDNN autotune": str(cudnn.benchmark),
            "cuDNN deterministic": str(cudnn.deterministic),
            **host_flags(),
        }

    def stack(self) -> dict[str, str]:
        """Return the versions of CUDA, cuDNN and the driver, and the card's power limit."""
        state, driver = self.gpu_state(), self.gpu().driver
        limit = state.power_limit_watts if state else None
        return {
            "CUDA": str(self.torch.version.cuda),
            "cuDNN": str(self.torch.backends.cudnn.version()),
            "driver": driver or "unknown",
            "power limit": "unknown" if limit is None else f"{limit:.0f} W",
        }

    def gpu(self) -> Gpu:
        """Return the facts of this GPU: the driver's, matched by UUID, or what torch tells of it."""
        facts = self.torch.cuda.get_device_properties(self.torch_device)
        return nvidia.found_as(facts.name, str(getattr(facts, "uuid", "")), facts.total_memory)

    def gpu_state(self) -> GpuState | None:
        """Return the card's clocks, limits and other processes, None where the driver does not tell."""
        return nvidia.gpu_state(self._uuid())

    def energy_joules(self) -> float | None:
        """Return the card's energy counter in joules, None where it has none."""
        return nvidia.energy_joules(self._uuid())

    def watched(self) -> contextlib.AbstractContextManager[Watching]:
        """Watch the card from another process, which the queue of this one does not hold up."""
        return watched(self._uuid() if self.gpu_state() else None)

    def tf32_allowed(self) -> bool:
        """Tell whether TF32 is on, read back from matrix products and convolutions."""
        return self.torch.backends.cuda.matmul.allow_tf32 or self.torch.backends.cudnn.allow_tf32

    @contextlib.contextmanager
    def tf32(self, allowed: bool) -> Iterator[None]:
        """Compute with or without TF32 for a while."""
        before = self.torch.backends.cuda.matmul.allow_tf32, self.torch.backends.cudnn.allow_tf32
        self.set_tf32(allowed, allowed)
        try:
            yield
        finally:
            self.set_tf32(*before)

    def set_tf32(self, in_products: bool, in_cudnn: bool) -> None:
        """Turn TF32 on or off."""
        self.torch.backends.cuda.matmul.allow_tf32 = in_products
        self.torch.backends.cudnn.allow_tf32 = in_cudnn

    def capture(self, step: Callable) -> tuple[Callable, object]:
        """Capture a step as a CUDA graph after a few steps on a side stream, as PyTorch advises."""
        side, main = self.torch.cuda.Stream(), self.torch.cuda.current_stream()
        side.wait_stream(main)
        with self.torch.cuda.stream(side):
            for _ in range(GRAPH_WARMUP_STEPS):
                step()
        main.wait_stream(side)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            result = step()
        return graph.replay, result

    def _uuid(self) -> str | None:
        return self.gpu().uuid
