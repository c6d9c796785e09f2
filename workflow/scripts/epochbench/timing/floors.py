"""The time that a machine's peaks leave an epoch: an estimate operator by operator, and a bound for all at once."""

from collections.abc import Iterable
from dataclasses import replace

from epochbench.timing.record import Limit, OperatorWork, Peaks


def limit_of(work: Limit, peaks: Peaks, precision: str) -> Limit:
    """Return an epoch's work with the times that some peaks leave it; work without operators keeps its estimate.

    The estimate takes the cell's own operators one by one: each the longer of its FLOP at the peak and its bytes, read
    and written once, at the bandwidth (the roofline of Williams, Waterman and Patterson 2009, summed over operators).
    Operators that are fused, or whose values stay in a cache, take less. The bound takes what no fusion spares: all
    FLOP of the network as published, or its images and weights.
    """
    peak, bandwidth = peaks.matrix_flop_per_second[precision], peaks.memory_bytes_per_second
    if not work.operators:
        bound = max(work.flop_per_epoch / peak, work.compulsory_bytes_per_epoch / bandwidth)
        return replace(work, fused_bound_seconds=bound)
    times = {
        "arithmetic": sum(each.flop for each in work.operators) / peak,
        "memory": work.operator_bytes_per_epoch / bandwidth,
        "launches": work.launches_per_epoch / peaks.launches_per_second,
    }
    return replace(
        work,
        operator_estimate_seconds=_one_by_one(work.operators, peak, bandwidth),
        fused_bound_seconds=max(work.flop_per_epoch / peak, work.compulsory_bytes_per_epoch / bandwidth),
        bound_by=max(times, key=times.get),
    )


def _one_by_one(operators: Iterable[OperatorWork], peak: float, bandwidth: float) -> float:
    return sum(max(each.flop / peak, each.bytes / bandwidth) for each in operators)


def highest(one: Peaks | None, other: Peaks) -> Peaks:
    """Return the higher of each peak; what disturbs a calibration lowers it, and nothing raises it."""
    if one is None:
        return other
    products = (one.matrix_flop_per_second, other.matrix_flop_per_second)
    precisions = dict.fromkeys(precision for product in products for precision in product)
    return Peaks(
        {precision: max(product.get(precision, 0) for product in products) for precision in precisions},
        max(one.memory_bytes_per_second, other.memory_bytes_per_second),
        max(one.launches_per_second, other.launches_per_second),
    )
