"""The software and settings beside the code that decide a timing: a digest, and the facts behind it."""

import hashlib
import os
import platform
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata

from epochbench.timing import devices
from epochbench.timing.device import Device
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Stack

# Of these a different value is a different measurement: where threads run and how they wait, memory, which kernels,
# which arithmetic, how work reaches a card. Threads and the GPUs to be seen are set for every job anew.
# Those of accelerators stand in devices/.
VARIABLES = (
    "OMP_PROC_BIND", "OMP_PLACES", "OMP_WAIT_POLICY", "OMP_DYNAMIC", "KMP_AFFINITY", "KMP_BLOCKTIME",
    "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT", "GLIBC_TUNABLES", "MALLOC_*", "LD_PRELOAD", "THP_MEM_ALLOC_ENABLE",
    "ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "ONEDNN_MAX_CPU_ISA", "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_DEFAULT_FPMATH_MODE", "MKL_ENABLE_INSTRUCTIONS", "MKL_DYNAMIC", "PYTORCH_*ALLOC_CONF",
    "TORCHINDUCTOR_MAX_AUTOTUNE*", "TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE",
)  # fmt: skip
# Of another framework's cells these decide as much: XLA's and TensorFlow's kernels, arithmetic and memory.
FRAMEWORK_VARIABLES = (
    "XLA_*", "JAX_*", "KERAS_*", "TF_CUDNN_*", "TF_ENABLE_*", "TF_DISABLE_*", "TF_FORCE_*", "TF_GPU_*", "TF_NUM_*",
    "TF_USE_*", "TF_XLA_FLAGS", "TF_DETERMINISTIC_OPS",
)  # fmt: skip


def describe_framework(facts: dict[str, str], protocol: Protocol) -> Stack:
    """Return the stack of another framework, by the versions and variables that its own process tells."""
    facts = facts | {"protocol": _digest(protocol.digested())}
    return Stack(_digest(facts), facts)


def describe_stack(device: Device, protocol: Protocol) -> Stack:
    """Return the stack of this process, torch imported."""
    import torch

    facts = {
        "Python": platform.python_version(),
        "torch": str(torch.__version__),
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
    }
    facts |= device.stack() | variables()
    facts["protocol"] = _digest(protocol.digested())
    return Stack(_digest(facts), facts)


def installed_stack() -> str:
    """Return a word for the stack that a job here will have, without torch: another one makes records stale."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "unknown"
    facts = {"Python": platform.python_version(), "torch": torch, **devices.installed(), **variables()}
    return _digest(facts)


def fact_of(facts: dict[str, str], name: str) -> str | None:
    """Return a fact of a stack: a variable that is not named was not set, another fact is unknown (None)."""
    return facts.get(name, "none" if is_variable(name) else None)


def is_variable(name: str) -> bool:
    """Tell whether a fact is an environment variable: where it is not named, it was not set."""
    return _matches(name, (*_patterns_of_torch(), *FRAMEWORK_VARIABLES))


@cache
def _patterns_of_torch() -> tuple[str, ...]:
    """Return the patterns of the variables that decide how torch computes, on any device."""
    return (*VARIABLES, *devices.variables())


def variables(further: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the variables that are set, of some further patterns too; an empty one is as good as none."""
    patterns = (*_patterns_of_torch(), *further)
    return {name: value[:500] for name, value in sorted(os.environ.items()) if value and _matches(name, patterns)}


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _digest(facts: dict) -> str:
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]
