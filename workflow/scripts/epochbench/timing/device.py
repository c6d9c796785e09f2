"""What every kind of device has; devices/ holds the kinds, one file each.

Nothing here imports torch before a device is opened, so that the Snakefile can ask which devices there are.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from epochbench.timing.machine import host
from epochbench.timing.machine.watch import Watching
from epochbench.timing.record import Gpu, GpuState

if TYPE_CHECKING:
    import torch

AUTOCAST_TYPES = {"bf16": "bfloat16", "fp16": "float16"}


@dataclass(frozen=True)
class Elapsed:
    """Seconds between start and stop: by the wall, synchronised at both ends, and by the device's own events.

    `wait_seconds` is the part of the wall time that the last synchronisation waited for the device. After it,
    `looking_seconds` were spent on looking whether the results are there, `late_seconds` more than that takes where
    they are; None where nobody looked.
    """

    wall_seconds: float
    event_seconds: float | None
    wait_seconds: float = 0.0
    late_seconds: float | None = None
    looking_seconds: float = 0.0


@dataclass(frozen=True)
class Facts:
    """What is to be said of a kind of accelerator without one: docs/devices.md shows it, and the plan obeys it.

    `lacks` names values of the sheet's columns that no device of this kind has, and why in words. `manufacturer` is the
    word that a cluster is asked with, and `slurm_form` how: as `gpus` or as `gres`. Of the environment, `variables` are
    patterns of those that decide a timing, and `shown_variables` those that a record shows. `tool` is where its maker
    tells of failures. `other_frameworks` tells whether others than torch are timed and watched on them.
    """

    hardware: str
    torch_type: str
    since: str
    source: str
    found_by: str
    hidden_by: str
    clock: str
    memory: str
    energy: str
    clocks: str
    processes: str
    on_hardware: str = "not yet run on real hardware"
    manufacturer: str = ""
    slurm_form: str = "gpus"
    tool: str = ""
    other_frameworks: bool = False
    lacks: dict[str, dict[str, str]] = field(default_factory=dict)
    variables: tuple[str, ...] = ()
    shown_variables: tuple[str, ...] = ()


class Device:
    """One device that trains. A kind overrides what it has; the defaults say that it has none."""

    torch_device: "torch.device"
    # What it computes in, and whether it can capture a step as a graph; devices/ refuses a cell that asks for more.
    precisions: tuple[str, ...] = ("fp32",)
    can_capture = False
    # What torch.distributed joins several of these with.
    backend = "gloo"
    # Sizes that keep the device busy: of square matrix products, of which the best counts, and of a copy in bytes.
    # Beside others a processor is left alone for milliseconds, which the smaller product takes.
    product_sizes: tuple[int, ...] = (1536, 512)
    copy_bytes = 2**28
    # Whether the processes of a team share one, rather than having one each.
    shared_by_team = True

    def synchronize(self) -> None:
        """Return once all work given to the device is done."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the stopwatch once the device has nothing left to do."""
        raise NotImplementedError

    def stop(self) -> Elapsed:
        """Stop the stopwatch once the device has nothing left to do."""
        raise NotImplementedError

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far."""
        raise NotImplementedError

    def free_memory_bytes(self) -> int:
        """Return the memory that is free for images: the host's, where the device has none of its own."""
        return host.free_memory_bytes()

    def pinned(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Return a tensor of the host where the device can fetch it by itself."""
        return tensor

    def ahead(self, work: Callable[[], tuple]) -> Callable[[], tuple]:
        """Begin some work beside what the device has to do; return a function that hands its tensors over.

        A processor has nothing beside: it is done at once.
        """
        tensors = work()
        return lambda: tensors

    def computes_bf16(self) -> bool:
        """Tell whether the device computes in bf16 itself, rather than a library imitating it."""
        raise NotImplementedError

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        raise NotImplementedError

    def stack(self) -> dict[str, str]:
        """Return the versions and settings of this kind of device that decide a timing."""
        return {}

    def gpu(self) -> Gpu | None:
        """Return the accelerator's facts, None for a processor."""
        return None

    def gpu_state(self) -> GpuState | None:
        """Return the accelerator's clocks, limits and other processes, None where nobody tells."""
        return None

    def watched(self) -> contextlib.AbstractContextManager[Watching]:
        """Return the context in which another process watches the accelerator; `seen` stays None where nobody can."""
        return contextlib.nullcontext(Watching())

    def energy_joules(self) -> float | None:
        """Return the accelerator's energy counter in joules, None where it has none."""
        return None

    def tf32_allowed(self) -> bool | None:
        """Tell whether TF32 is on, None where there is no such thing."""
        return None

    def tf32(self, allowed: bool) -> contextlib.AbstractContextManager:
        """Return the context in which TF32 is on or off; it does nothing where there is no such thing."""
        return contextlib.nullcontext()

    def capture(self, step: Callable) -> tuple[Callable, object]:
        """Capture a step, a function without arguments, as a graph: return a function that replays it, and its result.

        Only a kind with `can_capture` has it. The step is run a few times before, which changes weights and momenta:
        the caller puts them back.
        """
        raise NotImplementedError


def autocast_type(precision: str) -> "torch.dtype | None":
    """Return the type that autocast computes in, None where it does nothing: fp32 and tf32 compute as they are."""
    import torch

    return getattr(torch, AUTOCAST_TYPES[precision]) if precision in AUTOCAST_TYPES else None


def autocast(device: Device, precision: str) -> contextlib.AbstractContextManager:
    """Return the context that computes in a precision on a device."""
    import torch

    kind = autocast_type(precision)
    return torch.autocast(device.torch_device.type, dtype=kind or torch.bfloat16, enabled=kind is not None)
