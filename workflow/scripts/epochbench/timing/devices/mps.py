"""The GPU of an Apple chip, through Metal. Not yet run on real hardware.

There is one, which shares the machine's memory. Its events have hung and run backwards, so that the synchronised wall
clock is its only clock; it has no float64, which stays on the processor.
"""

import time
import warnings
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import AUTOCAST_TYPES, Elapsed, Facts
from epochbench.timing.devices._accelerator import Accelerator
from epochbench.timing.devices.cpu import host_flags
from epochbench.timing.devices.drivers import apple
from epochbench.timing.record import Gpu

if TYPE_CHECKING:
    import torch

SERVES = "gpu"
NO_GRAPHS = "torch has no graphs for Metal"
FACTS = Facts(
    hardware="Apple GPUs",
    torch_type="mps",
    since="2.11",
    source="https://docs.pytorch.org/docs/stable/notes/mps.html",
    found_by="macOS on an Apple chip",
    hidden_by="nothing; a cell for the CPU never names it",
    clock="the synchronised wall clock alone: its events have hung and run backwards",
    memory="what Metal gave torch, `torch.mps`; it is the machine's own memory",
    energy="unknown",
    clocks="unknown",
    processes="1: there is one GPU",
    tool="Console.app",
    lacks={
        "precision": {"tf32": "Metal has no TF32"},
        "execution": {"cuda_graph": NO_GRAPHS, "compiled_graph": NO_GRAPHS, "epoch_graph": NO_GRAPHS},
        "autotune": {"on": "Metal's convolutions have no algorithms to choose from"},
        "layers": {"fused": "Triton does not write for Metal"},
    },
    variables=("PYTORCH_MPS_*", "PYTORCH_ENABLE_MPS_FALLBACK", "MTL_*"),
    shown_variables=("PYTORCH_ENABLE_MPS_FALLBACK",),
)


def find() -> tuple[Gpu, ...]:
    """Return the GPU of an Apple chip."""
    return apple.gpus()


def built_for(torch: "torch") -> bool:
    """Tell whether a torch is built for this kind of device."""
    return torch.backends.mps.is_built()


def lacks(cell: Cell) -> str | None:
    """Return what this macOS lacks to run a cell; None where it lacks nothing."""
    if cell.processes > 1:
        return "an Apple chip has one GPU, which no two processes train on together"
    if cell.precision == "bf16" and find() and not apple.has_bf16():
        return f"this GPU computes in bf16 from macOS {apple.BF16_SINCE} on"
    return None


def prepare(environment: MutableMapping[str, str]) -> None:
    """Change nothing: torch finds the GPU by itself."""


def hide(environment: MutableMapping[str, str]) -> None:
    """Change nothing: macOS has no way to hide it, and tensors go there only by its name."""


def open_device(cell: Cell, index: int = 0) -> "MpsDevice":
    """Return the GPU. Raises BenchmarkError where torch sees none, or for a second one."""
    import torch

    torch.set_flush_denormal(True)
    if index or not torch.backends.mps.is_available():
        build = "" if torch.backends.mps.is_built() else "this torch is built without MPS; "
        raise BenchmarkError(
            f"cell '{cell.cell}': torch sees no Apple GPU number {index + 1} ({build}there is one on an Apple chip, "
            "from macOS 14 on); leave GPU cells out with --config devices='{gpu: skip}'"
        )
    return MpsDevice()


class MpsDevice(Accelerator):
    """The GPU of an Apple chip."""

    torch_type = "mps"
    product_sizes = (4096,)
    copy_bytes = 2**29
    shared_by_team = True

    def __init__(self, index: int = 0):
        import torch

        self.torch = torch
        self.torch_device = torch.device(self.torch_type, index)
        self._peak = 0
        self.precisions = ("fp32", *(name for name in AUTOCAST_TYPES if self._autocasts(name)))

    def start(self) -> None:
        """Start the stopwatch once the queue is empty."""
        self.synchronize()
        self._started = time.perf_counter()

    def stop(self) -> Elapsed:
        """Stop the stopwatch once the queue is empty; there is no other clock."""
        queued = time.perf_counter()
        self.synchronize()
        done = time.perf_counter()
        self._peak = max(self._peak, self._held())
        return Elapsed(done - self._started, None, done - queued)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory that Metal had given torch when a stopwatch stopped, unused parts included."""
        return max(self._peak, self._held())

    def _held(self) -> int:
        return self.torch.mps.driver_allocated_memory()

    def free_memory_bytes(self) -> int:
        """Return what Metal recommends for one process, less what this one holds."""
        return max(0, self.torch.mps.recommended_max_memory() - self._held())

    def computes_bf16(self) -> bool:
        """Tell whether autocast really computes in bf16 here."""
        return "bf16" in self.precisions

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels."""
        return {"autocast": ", ".join(self.precisions[1:]) or "none", **host_flags()}

    def stack(self) -> dict[str, str]:
        """Return the version of macOS, which brings the driver and the kernels."""
        return {"driver": self.gpu().driver or "unknown"}

    def gpu(self) -> Gpu:
        """Return the facts of this GPU."""
        return find()[0] if find() else Gpu("Apple GPU", self.torch.mps.recommended_max_memory(), None, None)

    def _autocasts(self, precision: str) -> bool:
        """Tell whether autocast computes a product in a type here, by having it compute one."""
        kind = getattr(self.torch, AUTOCAST_TYPES[precision])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # autocast warns of a type that it lacks, and goes on without it
            try:
                with self.torch.autocast(self.torch_device.type, dtype=kind):
                    left = self.torch.ones(2, 2, device=self.torch_device)
                    return (left @ left).dtype == kind
            except (RuntimeError, TypeError):
                return False
