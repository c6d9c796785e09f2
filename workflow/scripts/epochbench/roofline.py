"""Peaks: what a device can do at most, measured here and now."""

import torch

from epochbench.device import autocast

# Large enough to keep all cores or multiprocessors busy, small enough for a fraction of a second.
PRODUCT_SIZE = {"cpu": 1536, "cuda": 8192}
PRODUCTS = 4


def measure_peak(device, precision: str) -> float:
    """Return the FLOP/s of the fastest of a few square matrix products in a precision."""
    size = PRODUCT_SIZE[device.torch_device.type]
    left, right = (torch.rand(size, size, device=device.torch_device) for _ in range(2))
    seconds = []
    with torch.inference_mode(), autocast(device, precision):
        for _ in range(PRODUCTS):
            device.start()
            left @ right
            seconds.append(device.stop().wall_seconds)
    return 2 * size**3 / min(seconds)
