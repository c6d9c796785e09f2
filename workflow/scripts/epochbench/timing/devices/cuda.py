"""NVIDIA GPUs."""

import contextlib
import os
from collections.abc import MutableMapping
from functools import cache
from importlib import metadata

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Facts
from epochbench.timing.devices._card import Card, drivers_and_limits
from epochbench.timing.devices._torch_cuda import TorchCuda
from epochbench.timing.devices.drivers import cuda, nvidia
from epochbench.timing.machine import torch_files
from epochbench.timing.record import Gpu

SERVES = "gpu"
# What a kernel's time depends on; their names end in CUDA's number, or do not.
PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-nvrtc", "nvidia-cudnn", "nvidia-cublas", "nvidia-nccl", "triton")
FACTS = Facts(
    hardware="NVIDIA GPUs",
    torch_type="cuda",
    since="2.11",
    source="https://docs.pytorch.org/docs/stable/cuda.html",
    on_hardware="yes: H100, H200",
    found_by="NVML, or `nvidia-smi`",
    hidden_by="`CUDA_VISIBLE_DEVICES`",
    clock="`torch.Event`, beside the synchronised wall clock",
    memory="peak of tensors, `torch.accelerator`",
    energy="the card's counter, NVML",
    clocks="NVML, watched while the clock runs",
    processes="`nccl`, one a GPU",
    manufacturer="nvidia",
    tool="nvidia-smi",
    other_frameworks=True,
    variables=(
        "NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "CUBLAS_WORKSPACE_CONFIG",
        "CUBLASLT_WORKSPACE_SIZE", "CUDNN_LOGINFO_DBG", "CUDA_LAUNCH_BLOCKING", "CUDA_DEVICE_MAX_CONNECTIONS",
        "CUDA_MODULE_LOADING", "PYTORCH_NO_CUDA_MEMORY_CACHING", "NCCL_*",
    ),
    shown_variables=("CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE", "PYTORCH_CUDA_ALLOC_CONF"),
)  # fmt: skip


def find() -> tuple[Gpu, ...]:
    """Return the GPUs that the driver shows and CUDA_VISIBLE_DEVICES does not hide; none for another maker's torch."""
    return () if _torch_is_for_others() else nvidia.gpus()


def _torch_is_for_others() -> bool:
    """Tell whether torch here is built for another maker's GPUs, which may be in the same machine."""
    return any(torch_files.built_for(platform) for platform in ("hip", "xpu"))


def card(gpu: Gpu | None = None) -> Card | None:
    """Return a card, by default the first of CUDA's own order, None where there is none; torch is not asked."""
    gpu = gpu or cuda.first()
    return Card(nvidia, gpu) if gpu else None


def unseen() -> str | None:
    """Return why neither NVML nor nvidia-smi could look for GPUs, None where one could."""
    return nvidia.unseen()


def unusable() -> str | None:
    """Return that there is an NVIDIA GPU, where torch here is built for another maker's."""
    there = _torch_is_for_others() and nvidia.gpus()
    return torch_files.without("cuda", "CUDA", "an NVIDIA GPU") if there else None


def installed() -> dict[str, object]:
    """Return the cards' drivers and power limits, and the versions of CUDA's packages."""
    cards = find()
    return drivers_and_limits(nvidia, cards) | {"packages": _packages()} if cards else {}


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


def hide(environment: MutableMapping[str, str]) -> None:
    """Hide every NVIDIA GPU."""
    environment["CUDA_VISIBLE_DEVICES"] = ""


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


class CudaDevice(TorchCuda):
    """One NVIDIA GPU."""

    driver = nvidia

    def stack(self) -> dict[str, str]:
        """Return the versions of CUDA, cuDNN and the driver, and the card's power limit."""
        versions = {"CUDA": str(self.torch.version.cuda), "cuDNN": str(self.torch.backends.cudnn.version())}
        return versions | self.card().stack()
