"""Peaks that this machine reaches here and now, and the least time that they leave an epoch."""

import math
from collections.abc import Callable

import torch

from epochbench.timing.cell import Cell
from epochbench.timing.device import Device, autocast_type
from epochbench.timing.floors import highest, limit_of
from epochbench.timing.frameworks import TORCH
from epochbench.timing.load import dataset_of
from epochbench.timing.network import examined
from epochbench.timing.quiet import is_held_back
from epochbench.timing.record import Dataset, Limit, OperatorWork, Peaks
from epochbench.timing.task import Task
from epochbench.timing.team import Solo, Team
from epochbench.timing.work import count_work

REPEATS = 5
# Short calls are repeated for so long, so that one of them is left alone.
SHORT_SECONDS, MAX_REPEATS = 0.1, 100
CALIBRATION_TRIES = 5
LAUNCHES = 2000
ITEM_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}
WEIGHT_BYTES = 4  # autocast keeps the weights in float32
LABEL_BYTES = 8
ALONE = Solo()


def calibrated(task: Task, team: Team, device: Device, images: int, fastest: float) -> tuple[Peaks, Limit]:
    """Return the team's peaks and the floors that they leave an epoch; `fastest` is the shortest epoch in seconds.

    Whatever disturbs a calibration lowers its peaks. So where they say that the fastest epoch cannot be, or that the
    machine was held back, it is asked again before the timing is accused or repeated, and the highest peak of all tries
    is kept. On 16 Xeon cores in a virtual machine, looks within three seconds were up to a fifth apart.
    """
    peaks, work = None, work_of(task.cell, dataset_of(task.manifest), images, task.protocol.optimizer)
    best = task.reference_flop_per_second if task.protocol.tries > 1 else None  # a single try is never repeated
    for _ in range(CALIBRATION_TRIES):
        peaks = highest(peaks, _team_peaks(team, calibrate(device, task.cell.precision, team)))
        held_back = is_held_back(peaks.matrix_flop_per_second["fp32"] / team.size, best)
        if team.decide(work.is_possible(fastest, peaks, task.cell.precision) and not held_back):
            break
    return peaks, limit_of(work, peaks, task.cell.precision)


def calibrate(device: Device, precision: str, team: Team = ALONE) -> Peaks:
    """Measure this device's peaks: square matrix products in fp32, bf16 and the cell's precision, a copy, launches.

    The processes of a team measure at the same moment, as they train: each call waits for the others first.
    """
    precisions = dict.fromkeys(("fp32", *(["bf16"] if device.computes_bf16() else []), precision))
    return Peaks(
        matrix_flop_per_second={kind: matrix_flop_per_second(device, kind, team) for kind in precisions},
        memory_bytes_per_second=_memory_bytes_per_second(device, team),
        launches_per_second=_launches_per_second(device, team),
    )


def _best_seconds(device: Device, team: Team, action: Callable[[], object]) -> float:
    """Return the least seconds of a few calls, or of more where they are short, after a warm-up call."""
    action()
    seconds = []
    while team.decide(len(seconds) < REPEATS or (sum(seconds) < SHORT_SECONDS and len(seconds) < MAX_REPEATS)):
        team.barrier()
        device.start()
        action()
        seconds.append(device.stop().wall_seconds)
    return min(seconds)


def matrix_flop_per_second(device: Device, precision: str, team: Team = ALONE) -> float:
    """Return the FLOP/s of the fastest square matrix product in a precision, of a few sizes and calls."""
    return max(_product(device, precision, team, size) for size in device.product_sizes)


def _product(device: Device, precision: str, team: Team, size: int) -> float:
    left, right = (torch.rand(size, size, device=device.torch_device) for _ in range(2))
    kind = autocast_type(precision)
    left, right = (left.to(kind), right.to(kind)) if kind else (left, right)
    product = left @ right
    with torch.inference_mode(), device.tf32(precision == "tf32"):
        return 2 * size**3 / _best_seconds(device, team, lambda: torch.mm(left, right, out=product))


def _memory_bytes_per_second(device: Device, team: Team) -> float:
    """Return the bytes read and written a second by a copy that no cache holds."""
    count = device.copy_bytes // 4
    source, target = (torch.zeros(count, device=device.torch_device) for _ in range(2))
    return 2 * 4 * count / _best_seconds(device, team, lambda: target.copy_(source))


def _launches_per_second(device: Device, team: Team) -> float:
    """Return how many of the smallest operators the host can hand to the device in a second."""
    value = torch.zeros(1, device=device.torch_device)

    def launch():
        for _ in range(LAUNCHES):
            value.add_(1)

    with torch.inference_mode():
        return LAUNCHES / _best_seconds(device, team, launch)


def limit(cell: Cell, dataset: Dataset, images: int, peaks: Peaks) -> Limit:
    """Return the work of an epoch of so many images, and the times in seconds that the peaks leave it."""
    return limit_of(work_of(cell, dataset, images), peaks, cell.precision)


def work_of(cell: Cell, dataset: Dataset, images: int, optimizer: str = "sgd") -> Limit:
    """Return the work of an epoch of so many images, its times still unknown (infinite).

    FLOP and the bytes that cannot be spared are those of the network as published, whatever way the cell computes it.
    These are images and labels, and the weights once, which a cache keeps from step to step. Operators and the bytes
    that they move are those of the cell's own graph, before any compiler fuses them.
    """
    published = count_work(cell.model, dataset, optimizer=optimizer)
    own = count_work(cell.model, dataset, cell.layers, cell.memory_format, optimizer)
    steps, size = images / cell.batch_size, ITEM_BYTES[cell.precision]
    operators = [
        OperatorWork(
            one.flop * images,
            (one.values * size + one.other_bytes) * images + one.weights * steps * WEIGHT_BYTES,
        )
        for one in own
    ]
    image_bytes = examined(cell.model, dataset).input_bytes + LABEL_BYTES
    return Limit(
        flop_per_epoch=sum(one.flop for one in published) * images,
        operator_bytes_per_epoch=sum(one.bytes for one in operators),
        compulsory_bytes_per_epoch=images * image_bytes + published[-1].weights * WEIGHT_BYTES,
        operators_per_step=len(operators),
        operator_estimate_seconds=math.inf,
        fused_bound_seconds=math.inf,
        bound_by="arithmetic",
        launches_per_epoch=_launches(cell, steps, len(operators)),
        operators=operators,
    )


def _team_peaks(team: Team, peaks: Peaks) -> Peaks:
    """Return what the whole team reaches; each worker has calibrated its own share at the same time."""
    products = team.total(list(peaks.matrix_flop_per_second.values()))
    copied, launched = team.total([peaks.memory_bytes_per_second, peaks.launches_per_second])
    return Peaks(dict(zip(peaks.matrix_flop_per_second, products, strict=True)), copied, launched)


def _launches(cell: Cell, steps: float, operators: int) -> float:
    """Return what the host hands to the device in an epoch: one graph of all steps, one a step, or every operator.

    Where another framework compiles a step, that is one program, whatever it launches by itself.
    """
    if cell.execution == "epoch_graph":
        return 1
    in_one = cell.captures_graph or (cell.framework != TORCH and cell.execution == "compile")
    return steps if in_one else steps * operators
