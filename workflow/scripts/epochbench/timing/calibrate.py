"""Peaks that this machine reaches here and now, and the least time that they leave an epoch."""

import math
from collections.abc import Callable

import torch

from epochbench.timing.cell import Cell
from epochbench.timing.device import Device, autocast_type
from epochbench.timing.load import dataset_of
from epochbench.timing.record import Dataset, Limit, Peaks
from epochbench.timing.task import Task
from epochbench.timing.team import Team
from epochbench.timing.work import Operator, count_work

REPEATS = 5
CALIBRATION_TRIES = 5
LAUNCHES = 2000
ITEM_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
WEIGHT_BYTES = 4  # autocast keeps the weights in float32
LABEL_BYTES = 8


def calibrated(task: Task, team: Team, device: Device, images: int, fastest: float) -> tuple[Peaks, Limit]:
    """Return the team's peaks and the floors that they leave an epoch; `fastest` is the shortest epoch in seconds.

    Whatever disturbs a calibration lowers its peaks. So where they say that the fastest epoch cannot be, the machine is
    asked again before the gate accuses the timing.
    """
    dataset = dataset_of(task.manifest)
    operators = count_work(task.cell.model, dataset)
    for _ in range(CALIBRATION_TRIES):
        peaks = _team_peaks(team, calibrate(device, task.cell.precision))
        bound = limit(task.cell, dataset, operators, images, peaks)
        if team.decide(bound.is_possible(fastest, peaks, task.cell.precision)):
            break
    return peaks, bound


def calibrate(device: Device, precision: str) -> Peaks:
    """Measure this device's peaks: square matrix products in fp32, bf16 and the cell's precision, a copy, launches."""
    precisions = dict.fromkeys(("fp32", *(["bf16"] if device.computes_bf16() else []), precision))
    return Peaks(
        matrix_flop_per_second={kind: matrix_flop_per_second(device, kind) for kind in precisions},
        memory_bytes_per_second=_memory_bytes_per_second(device),
        launches_per_second=_launches_per_second(device),
    )


def _best_seconds(device: Device, action: Callable[[], object]) -> float:
    """Return the least seconds of a few calls, after a warm-up call."""
    action()
    seconds = []
    for _ in range(REPEATS):
        device.start()
        action()
        seconds.append(device.stop().wall_seconds)
    return min(seconds)


def matrix_flop_per_second(device: Device, precision: str) -> float:
    """Return the FLOP/s of the fastest of a few square matrix products in a precision."""
    size = device.product_size
    left, right = (torch.rand(size, size, device=device.torch_device) for _ in range(2))
    kind = autocast_type(precision)
    left, right = (left.to(kind), right.to(kind)) if kind else (left, right)
    product = left @ right
    with torch.inference_mode(), device.tf32(precision == "tf32"):
        return 2 * size**3 / _best_seconds(device, lambda: torch.mm(left, right, out=product))


def _memory_bytes_per_second(device: Device) -> float:
    """Return the bytes read and written a second by a copy that no cache holds."""
    count = device.copy_bytes // 4
    source, target = (torch.zeros(count, device=device.torch_device) for _ in range(2))
    return 2 * 4 * count / _best_seconds(device, lambda: target.copy_(source))


def _launches_per_second(device: Device) -> float:
    """Return how many of the smallest operators the host can hand to the device in a second."""
    value = torch.zeros(1, device=device.torch_device)

    def launch():
        for _ in range(LAUNCHES):
            value.add_(1)

    with torch.inference_mode():
        return LAUNCHES / _best_seconds(device, launch)


def limit(cell: Cell, dataset: Dataset, operators: list[Operator], images: int, peaks: Peaks) -> Limit:
    """Return the work of an epoch of so many images, and the floors in seconds that the peaks leave it.

    `operators` are those of the network as published, whatever way the cell computes it. Operator by operator, each
    takes the longer of its FLOP at the peak and its bytes, read and written once, at the bandwidth (the roofline of
    Williams, Waterman and Patterson 2009, summed over operators). Fused, all FLOP or the images and the weights, which
    cannot be spared.
    """
    steps, size = images / cell.batch_size, ITEM_BYTES[cell.precision]
    peak, bandwidth = peaks.matrix_flop_per_second[cell.precision], peaks.memory_bytes_per_second
    work = [
        (one.flop * images, (one.values * size + one.other_bytes) * images + one.weights * steps * WEIGHT_BYTES)
        for one in operators
    ]
    flop, moved = (sum(column) for column in zip(*work, strict=True))
    image_bytes = math.prod(dataset.image_shape) * WEIGHT_BYTES + LABEL_BYTES
    compulsory = images * image_bytes + operators[-1].weights * steps * WEIGHT_BYTES
    launches = 1 if cell.execution == "epoch_graph" else steps if cell.captures_graph else steps * len(operators)
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


def _team_peaks(team: Team, peaks: Peaks) -> Peaks:
    """Return what the whole team reaches; each worker has calibrated its own share at the same time."""
    products = team.total(list(peaks.matrix_flop_per_second.values()))
    copied, launched = team.total([peaks.memory_bytes_per_second, peaks.launches_per_second])
    return Peaks(dict(zip(peaks.matrix_flop_per_second, products, strict=True)), copied, launched)
