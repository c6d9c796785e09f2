"""What torch calls `cuda`: NVIDIA's GPUs, and AMD's too, of which torch.version.hip tells."""

import contextlib
from collections.abc import Iterator
from types import ModuleType

from epochbench.timing.devices._accelerator import StreamAccelerator
from epochbench.timing.devices._card import Card
from epochbench.timing.devices.cpu import host_flags
from epochbench.timing.machine.watch import Watching
from epochbench.timing.record import Gpu, GpuState


class TorchCuda(StreamAccelerator):
    """One GPU of torch.cuda. A kind names what its driver tells by, and its libraries."""

    driver: ModuleType

    torch_type = "cuda"
    precisions = ("fp32", "tf32", "bf16", "fp16")
    can_capture = True
    graph_class = "CUDAGraph"
    backend = "nccl"
    # Of the convolutions, which torch.backends.cudnn switches whatever it is.
    convolutions = "cuDNN"

    def free_memory_bytes(self) -> int:
        """Return the card's memory that nobody holds."""
        return self.torch.cuda.mem_get_info(self.torch_device)[0]

    def computes_bf16(self) -> bool:
        """Tell whether the card computes in bf16 itself."""
        return self.torch.cuda.is_bf16_supported(including_emulation=False)

    def flags(self) -> dict[str, str]:
        """Return what decides the arithmetic and its kernels, read back from torch."""
        cudnn, name = self.torch.backends.cudnn, self.convolutions
        return {
            "tf32 in matrix products": str(self.torch.backends.cuda.matmul.allow_tf32),
            f"tf32 in {name}": str(cudnn.allow_tf32),
            name: str(cudnn.version()),
            f"{name} autotune": str(cudnn.benchmark),
            f"{name} deterministic": str(cudnn.deterministic),
            **host_flags(),
        }

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

    def gpu(self) -> Gpu:
        """Return the facts of this GPU: the driver's, matched by identity, or what torch tells of it."""
        facts = self.torch.cuda.get_device_properties(self.torch_device)
        return self.driver.found_as(facts.name, str(getattr(facts, "uuid", "")), facts.total_memory)

    def card(self) -> Card:
        """Return this GPU as its driver tells of it."""
        return Card(self.driver, self.gpu())

    def gpu_state(self) -> GpuState | None:
        """Return the card's clocks, limits and other processes, None where the driver does not tell."""
        return self.card().state()

    def energy_joules(self) -> float | None:
        """Return the card's energy counter in joules, None where it has none."""
        return self.card().energy_joules()

    def watched(self) -> contextlib.AbstractContextManager[Watching]:
        """Watch the card from another process."""
        return self.card().watched()
