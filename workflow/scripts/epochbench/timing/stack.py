"""The software and settings beside the code that decide a timing: a digest, and the facts behind it."""

import hashlib
import os
import platform
from importlib import metadata

from epochbench.timing.device import Device
from epochbench.timing.devices import accelerators
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Stack

# Of these a different value is a different measurement. Threads and the GPUs to be seen are set for every job anew.
VARIABLES = (
    "OMP_PROC_BIND", "OMP_PLACES", "KMP_AFFINITY", "GOMP_CPU_AFFINITY", "GLIBC_TUNABLES", "MALLOC_ARENA_MAX",
    "LD_PRELOAD", "NVIDIA_TF32_OVERRIDE", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "CUDA_LAUNCH_BLOCKING",
    "CUDNN_LOGINFO_DBG", "TORCHINDUCTOR_MAX_AUTOTUNE", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA",
)  # fmt: skip


def describe_stack(device: Device, protocol: Protocol) -> Stack:
    """Return the stack of this process, torch imported."""
    import torch

    facts = {"Python": platform.python_version(), "torch": str(torch.__version__)}
    facts |= device.stack() | _variables()
    facts["protocol"] = _digest(protocol.digested())
    return Stack(_digest(facts), facts)


def installed_stack() -> str:
    """Return a word for the stack that a job here will have, without torch: another one makes records stale."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "unknown"
    drivers = [gpu.driver or "unknown" for gpu in accelerators()]
    return _digest({"Python": platform.python_version(), "torch": torch, "drivers": drivers} | _variables())


def _variables() -> dict[str, str]:
    return {name: os.environ[name][:500] for name in VARIABLES if name in os.environ}


def _digest(facts: dict) -> str:
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]
