"""Intel GPUs, which torch calls `xpu`. Not yet run on real hardware."""

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Facts
from epochbench.timing.devices._accelerator import StreamAccelerator
from epochbench.timing.devices.cpu import host_flags
from epochbench.timing.devices.drivers import intel
from epochbench.timing.machine import torch_files
from epochbench.timing.record import Gpu

if TYPE_CHECKING:
    import torch

SERVES = "gpu"
# torch's own file, without which it has none.
GRAPHS = "xpu/graphs.py"
FACTS = Facts(
    hardware="Intel GPUs",
    torch_type="xpu",
    since="2.11, built for XPU; graphs where it has `torch.xpu.XPUGraph`",
    source="https://docs.pytorch.org/docs/stable/xpu.html",
    found_by="the kernel's `/sys/class/drm`; names by `xpu-smi`",
    hidden_by="`ZE_AFFINITY_MASK`, `ONEAPI_DEVICE_SELECTOR`",
    clock="`torch.Event`, beside the synchronised wall clock",
    memory="peak of tensors, `torch.accelerator`",
    energy="the kernel's counter, where there is one card; unknown where it stands still",
    clocks="unknown",
    processes="`xccl`, one a GPU",
    manufacturer="intel",
    slurm_form="gres",
    tool="xpu-smi",
    lacks={
        "precision": {"tf32": "torch sets it for oneDNN as a whole, and nobody has seen which cards obey"},
        "autotune": {"on": "oneDNN has no algorithms to choose from"},
        "layers": {"fused": "its kernels are written for NVIDIA's tensor cores, and nobody has tried them on Intel's"},
    },
    variables=(
        "ZE_FLAT_DEVICE_HIERARCHY", "SYCL_*", "UR_*", "IGC_*", "NEOReadDebugKeys", "CCL_*",
        "PYTORCH_XPU_*",
    ),
    shown_variables=("ZE_AFFINITY_MASK", "ONEAPI_DEVICE_SELECTOR"),
)  # fmt: skip


def find() -> tuple[Gpu, ...]:
    """Return the GPUs that the kernel shows, ZE_AFFINITY_MASK does not hide, and this torch is built for."""
    return intel.gpus() if torch_files.built_for("xpu") else ()


def unseen() -> str | None:
    """Return why nobody could look for Intel GPUs, where torch could use them."""
    return intel.unseen() if torch_files.built_for("xpu") else None


def unusable() -> str | None:
    """Return that there is an Intel card, where torch here is not built for it; any processor may have graphics."""
    return torch_files.without("xpu", "XPU", "an Intel GPU") if intel.gpus() and intel.has_card() else None


def built_for(torch: "torch") -> bool:
    """Tell whether a torch is built for this kind of device."""
    return getattr(torch.version, "xpu", None) is not None


def lacks(cell: Cell) -> str | None:
    """Return what this torch lacks to run a cell; None where it lacks nothing."""
    folder = torch_files.folder()
    if cell.captures_graph and folder and not (folder / GRAPHS).exists():
        return "this torch has no graphs for Intel GPUs"
    return None


def installed() -> dict[str, object]:
    """Return the cards' drivers, and the version of oneAPI that torch is built for."""
    cards = find()
    return {"drivers": [gpu.driver for gpu in cards], "XPU": torch_files.built_for("xpu")} if cards else {}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Change nothing: torch finds the GPUs by itself."""


def hide(environment: MutableMapping[str, str]) -> None:
    """Hide every Intel GPU: oneAPI is told to take processors alone. An empty mask would hide none."""
    environment[intel.SELECTOR] = "*:cpu"


def open_device(cell: Cell, index: int = 0) -> "XpuDevice":
    """Return a GPU. Raises BenchmarkError where torch sees none."""
    import torch

    torch.set_flush_denormal(True)
    if not torch.xpu.is_available() or torch.xpu.device_count() <= index:
        build = "XPU" if built_for(torch) else "this torch is built without XPU"
        mask = os.environ.get("ZE_AFFINITY_MASK", "not set")
        raise BenchmarkError(
            f"cell '{cell.cell}': torch sees {torch.xpu.device_count()} Intel GPUs, it needs {index + 1} ({build}, "
            f"ZE_AFFINITY_MASK is {mask}); check xpu-smi and the driver, or leave GPU cells out with --config "
            "devices='{gpu: skip}'"
        )
    return XpuDevice(index)


class XpuDevice(StreamAccelerator):
    """One Intel GPU, or a part of one, as oneAPI counts them."""

    torch_type = "xpu"
    precisions = ("fp32", "bf16", "fp16")
    graph_class = "XPUGraph"
    backend = "xccl"

    def __init__(self, index: int = 0):
        super().__init__(index)
        self.can_capture = hasattr(self.torch.xpu, self.graph_class)
        if not getattr(self.torch.xpu.get_device_properties(self.torch_device), "has_fp64", True):
            self.precisions = ("fp32", "bf16")  # torch scales the gradients of fp16 in float64

    def free_memory_bytes(self) -> int:
        """Return the device's memory that nobody holds; where it does not tell, what this process does not hold."""
        try:
            return super().free_memory_bytes()
        except RuntimeError:  # of many cards, and of what is built into a processor, nobody knows
            total = self.torch.xpu.get_device_properties(self.torch_device).total_memory
            return total - self.torch.accelerator.memory_allocated(self.torch_device)

    def computes_bf16(self) -> bool:
        """Tell whether the GPU computes in bf16 itself."""
        return self.torch.xpu.is_bf16_supported(including_emulation=False)

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        return {"tf32 in oneDNN": str(self.tf32_allowed()), **host_flags()}

    def tf32_allowed(self) -> bool:
        """Tell whether TF32 is on, which oneDNN has for all of its devices."""
        return bool(self.torch.backends.mkldnn.allow_tf32)

    def stack(self) -> dict[str, str]:
        """Return the version of oneAPI that torch is built for, and the driver's."""
        return {"XPU": str(getattr(self.torch.version, "xpu", None)), "driver": self.gpu().driver or "unknown"}

    def gpu(self) -> Gpu:
        """Return the facts of this GPU, as torch tells them."""
        facts = self.torch.xpu.get_device_properties(self.torch_device)
        driver = getattr(facts, "driver_version", None)
        return Gpu(facts.name, facts.total_memory, driver, str(facts.uuid) if getattr(facts, "uuid", None) else None)

    def energy_joules(self) -> float | None:
        """Return the GPU's energy counter in joules, None where it has none, or where there are several GPUs.

        A card whose parts are GPUs of their own has one counter for all, which every process of a team would add.
        """
        return intel.energy_joules() if self.torch.xpu.device_count() == 1 else None
