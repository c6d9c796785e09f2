"""What accelerators share: work is queued, so every reading of a clock waits for the queue first.

Where torch.accelerator has a word for it, that is used, so that a further kind needs little more.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from epochbench.timing.device import Device, Elapsed

if TYPE_CHECKING:
    import torch

# PyTorch's own advice before a capture: a few steps on a side stream.
GRAPH_WARMUP_STEPS = 3


class Accelerator(Device):
    """One accelerator, whose events are its own clock. A kind names torch's word for it."""

    torch_type: str
    product_sizes = (8192,)
    copy_bytes = 2**31
    shared_by_team = False

    def __init__(self, index: int = 0):
        import torch

        self.torch = torch
        self.torch_device = torch.device(self.torch_type, index)
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
        """Stop the stopwatch once the queue is empty; events count milliseconds."""
        self._end.record()
        queued = time.perf_counter()
        self.synchronize()
        done = time.perf_counter()
        return Elapsed(done - self._started, self._begin.elapsed_time(self._end) / 1e3, done - queued)

    def peak_memory_bytes(self) -> int:
        """Return the largest memory so far that tensors held on the device."""
        return self.torch.accelerator.max_memory_allocated(self.torch_device)

    def free_memory_bytes(self) -> int:
        """Return the device's memory that nobody holds."""
        return self.torch.accelerator.get_memory_info(self.torch_device)[0]


class StreamAccelerator(Accelerator):
    """An accelerator with streams of work, and graphs of it: torch's module for it has them by the same names."""

    # Of that module, a graph that is captured and replayed.
    graph_class: str

    @property
    def module(self) -> object:
        """Return torch's module for this kind of device."""
        return getattr(self.torch, self.torch_type)

    def pinned(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """Return a tensor in memory that the kernel keeps in place, so that the card copies it while others work."""
        return tensor.pin_memory()

    def ahead(self, work: Callable[[], tuple]) -> Callable[[], tuple]:
        """Begin some work on a stream of its own; whoever takes its tensors has the main stream wait for it."""
        self._side = getattr(self, "_side", None) or self.module.Stream(self.torch_device)
        with self.module.stream(self._side):
            tensors = work()
            done = self._side.record_event()

        def taken() -> tuple:
            main = self.module.current_stream(self.torch_device)
            main.wait_event(done)
            for tensor in tensors:
                tensor.record_stream(main)  # its memory is not used again before the step that reads it is done
            return tensors

        return taken

    def capture(self, step: Callable) -> tuple[Callable, object]:
        """Capture a step as a graph after a few steps on a side stream, as PyTorch advises."""
        side, main = self.module.Stream(), self.module.current_stream()
        side.wait_stream(main)
        with self.module.stream(side):
            for _ in range(GRAPH_WARMUP_STEPS):
                step()
        main.wait_stream(side)
        graph = getattr(self.module, self.graph_class)()
        with self.module.graph(graph):
            result = step()
        return graph.replay, result
