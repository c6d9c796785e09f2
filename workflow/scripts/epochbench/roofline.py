"""Peaks that this machine reaches here and now, and the least time that they leave an epoch."""

import torch

from epochbench.device import autocast_type
from epochbench.record import Limit, Peaks
from epochbench.work import compulsory_values, count_work

# Large enough to keep all cores or multiprocessors busy, small enough for a fraction of a second.
PRODUCT_SIZE = {"cpu": 1536, "cuda": 8192}
COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}
REPEATS = 5
LAUNCHES = 2000
ITEM_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
WEIGHT_BYTES = 4  # autocast keeps the weights in float32
LABEL_BYTES = 8


def calibrate(device, precision: str) -> Peaks:
    """Measure this device's peaks: square matrix products in fp32, bf16 and the cell's precision, a copy, launches."""
    precisions = dict.fromkeys(("fp32", *(["bf16"] if device.computes_bf16() else []), precision))
    return Peaks(
        matrix_flop_per_second={kind: _matrix_flop_per_second(device, kind) for kind in precisions},
        memory_bytes_per_second=_memory_bytes_per_second(device),
        launches_per_second=_launches_per_second(device),
    )


def _best_seconds(device, action) -> float:
    """Return the least seconds of a few tries, the first of which is for free."""
    action()
    seconds = []
    for _ in range(REPEATS):
        device.start()
        action()
        seconds.append(device.stop().wall_seconds)
    return min(seconds)


def _matrix_flop_per_second(device, precision: str) -> float:
    size = PRODUCT_SIZE[device.torch_device.type]
    left, right = (torch.rand(size, size, device=device.torch_device) for _ in range(2))
    kind = autocast_type(precision)
    left, right = (left.to(kind), right.to(kind)) if kind else (left, right)
    found = left @ right
    with torch.inference_mode(), device.tf32(precision == "tf32"):
        return 2 * size**3 / _best_seconds(device, lambda: torch.mm(left, right, out=found))


def _memory_bytes_per_second(device) -> float:
    """Return the bytes read and written a second by a copy that no cache holds."""
    count = COPY_BYTES[device.torch_device.type] // 4
    source, target = (torch.zeros(count, device=device.torch_device) for _ in range(2))
    return 2 * 4 * count / _best_seconds(device, lambda: target.copy_(source))


def _launches_per_second(device) -> float:
    """Return how many of the smallest operators the host can hand to the device in a second."""
    value = torch.zeros(1, device=device.torch_device)

    def launch():
        for _ in range(LAUNCHES):
            value.add_(1)

    with torch.inference_mode():
        return LAUNCHES / _best_seconds(device, launch)


def limit(cell, images: int, peaks: Peaks) -> Limit:
    """Return an epoch's work and the floors that the peaks leave it, in seconds.

    The network is taken as published, whatever way the cell computes it. Operator by operator, each takes the longer
    of its FLOP at the peak and its bytes, read and written once, at the bandwidth (the roofline of Williams, Waterman
    and Patterson 2009, summed over operators). Fused, all FLOP or the images and the weights, which cannot be spared.
    """
    operators = count_work(cell.model)
    steps, size = images / cell.batch_size, ITEM_BYTES[cell.precision]
    peak, bandwidth = peaks.matrix_flop_per_second[cell.precision], peaks.memory_bytes_per_second
    work = [(op.flop * images, op.values * images * size + op.weights * steps * WEIGHT_BYTES) for op in operators]
    flop, moved = (sum(column) for column in zip(*work, strict=True))
    compulsory = (
        images * (compulsory_values() * WEIGHT_BYTES + LABEL_BYTES) + operators[-1].weights * steps * WEIGHT_BYTES
    )
    launches = steps if cell.captures_graph else steps * len(operators)
    bounds = {
        "arithmetic": flop / peak,
        "memory": moved / bandwidth,
        "launches": launches / peaks.launches_per_second,
    }
    return Limit(
        flop_per_epoch=flop,
        operator_bytes_per_epoch=moved,
        compulsory_bytes_per_epoch=compulsory,
        operators_per_step=len(operators),
        operator_floor_seconds=sum(max(part / peak, byte / bandwidth) for part, byte in work),
        fused_floor_seconds=max(flop / peak, compulsory / bandwidth),
        bound_by=max(bounds, key=bounds.get),
    )
