"""AMD GPUs, which torch calls `cuda` too: torch.version.hip tells them apart. Not yet run on real hardware."""

import os
from collections.abc import MutableMapping
from typing import TYPE_CHECKING

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Facts
from epochbench.timing.devices._card import drivers_and_limits
from epochbench.timing.devices._torch_cuda import TorchCuda
from epochbench.timing.devices.drivers import amd
from epochbench.timing.machine import torch_files
from epochbench.timing.record import Gpu

if TYPE_CHECKING:
    import torch

SERVES = "gpu"
FACTS = Facts(
    hardware="AMD GPUs",
    torch_type="cuda",
    since="2.11, built for ROCm",
    source="https://docs.pytorch.org/docs/stable/notes/hip.html",
    found_by="AMD SMI's package, or the kernel's KFD topology",
    hidden_by="`HIP_VISIBLE_DEVICES`, `ROCR_VISIBLE_DEVICES`, `CUDA_VISIBLE_DEVICES`",
    clock="`torch.Event`, beside the synchronised wall clock",
    memory="peak of tensors, `torch.accelerator`",
    energy="the card's counter, AMD SMI; unknown where it stands still",
    clocks="AMD SMI, watched while the clock runs; a field that it does not tell is unknown",
    processes="`nccl` (RCCL), one a GPU",
    manufacturer="amd",
    slurm_form="gres",
    tool="amd-smi",
    lacks={
        "precision": {"tf32": "hipBLASLt has it on few of them, by a variable of its own, and MIOpen has none"},
        "layers": {"fused": "its kernels are written for NVIDIA's tensor cores, and nobody has tried them on AMD's"},
    },
    variables=(
        "HIP_LAUNCH_BLOCKING", "HIPBLASLT_*", "ROCBLAS_*", "MIOPEN_*", "HSA_*", "GPU_MAX_HW_QUEUES", "PYTORCH_MIOPEN_*",
        "TORCH_BLAS_PREFER_HIPBLASLT", "AMD_SERIALIZE_KERNEL", "PYTORCH_NO_HIP_MEMORY_CACHING",
        "RCCL_*",
    ),
    shown_variables=("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES"),
)  # fmt: skip


def find() -> tuple[Gpu, ...]:
    """Return the GPUs that the driver shows, HIP's variables do not hide, and this torch is built for."""
    return amd.gpus() if torch_files.built_for("hip") else ()


def unseen() -> str | None:
    """Return why nobody could look for AMD GPUs, where torch could use them."""
    return amd.unseen() if torch_files.built_for("hip") else None


def unusable() -> str | None:
    """Return that there is an AMD GPU, where torch here is not built for it."""
    return torch_files.without("hip", "ROCm", "an AMD GPU") if amd.gpus() else None


def built_for(torch: "torch") -> bool:
    """Tell whether a torch is built for this kind of device."""
    return torch.version.hip is not None


def installed() -> dict[str, object]:
    """Return the cards' drivers and power limits, and the version of ROCm that torch is built for."""
    cards = find()
    return drivers_and_limits(amd, cards) | {"ROCm": torch_files.built_for("hip")} if cards else {}


def prepare(environment: MutableMapping[str, str]) -> None:
    """Change nothing: torch finds the GPUs by itself."""


def hide(environment: MutableMapping[str, str]) -> None:
    """Hide every AMD GPU; an empty word would hide none, since HIP takes it for none said."""
    environment["HIP_VISIBLE_DEVICES"] = "-1"


def open_device(cell: Cell, index: int = 0) -> "RocmDevice":
    """Return a GPU. Raises BenchmarkError where torch sees none."""
    import torch

    torch.set_flush_denormal(True)
    if not torch.version.hip or not torch.cuda.is_available() or torch.cuda.device_count() <= index:
        build = f"ROCm {torch.version.hip}" if torch.version.hip else "this torch is built without ROCm"
        hidden = ", ".join(f"{name} is {os.environ.get(name, 'not set')}" for name in amd.VISIBLE)
        raise BenchmarkError(
            f"cell '{cell.cell}': torch sees too few AMD GPUs, it needs {index + 1} ({build}, {hidden}); check amd-smi "
            "and the driver, or leave GPU cells out with --config devices='{gpu: skip}'"
        )
    device = RocmDevice(index)
    device.set_tf32(False, False)
    torch.backends.cudnn.benchmark = cell.autotune == "on"
    return device


class RocmDevice(TorchCuda):
    """One AMD GPU, or one die of a card that has two."""

    precisions = ("fp32", "bf16", "fp16")
    convolutions = "MIOpen"
    driver = amd

    def stack(self) -> dict[str, str]:
        """Return the versions of ROCm, MIOpen and the driver, and the card's power limit."""
        versions = {"ROCm": str(self.torch.version.hip), "MIOpen": str(self.torch.backends.cudnn.version())}
        return versions | self.card().stack()
