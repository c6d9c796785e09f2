"""One machine's floors: the highest peaks of all its runs, and what they leave each cell."""

from dataclasses import fields

from epochbench.aggregate.machines import hardware
from epochbench.aggregate.summary import DistanceToLimit
from epochbench.timing.floors import highest, limit_of
from epochbench.timing.record import Limit, Peaks, Record


class Floors:
    """The highest peaks that any run of a machine reached with as many threads, or processes on accelerators.

    A disturbed calibration shows too low a peak, never too high a one. So every cell of a machine has the same peaks,
    and cells that do the same work have the same bound.
    """

    def __init__(self, records: list[Record]):
        self._peaks: dict[tuple, Peaks] = {}
        self._estimates: dict[tuple, float] = {}
        for record in records:
            if record.peaks:
                place = _place(record)
                self._peaks[place] = highest(self._peaks.get(place), record.peaks)
            if record.limit:
                work, seconds = _work(record), record.limit.operator_estimate_seconds
                self._estimates[work] = min(self._estimates.get(work, seconds), seconds)

    def peaks(self, record: Record) -> Peaks | None:
        """Return the peaks of the machine that a record names, None where none of its runs was calibrated."""
        return self._peaks.get(_place(record))

    def limit(self, record: Record) -> Limit | None:
        """Return the work of a record's epoch with the times that its machine's peaks leave it, None where unknown.

        Before version 4 the operators' work is not known one by one: the smallest estimate of the same work stands.
        """
        peaks, precision = self.peaks(record), record.cell.precision
        if record.limit is None or peaks is None or precision not in peaks.matrix_flop_per_second:
            return None
        limit = limit_of(record.limit, peaks, precision)
        known = {} if limit.operators else {"operator_estimate_seconds": self._estimates[_work(record)]}
        return Limit(**{field.name: getattr(limit, field.name) for field in fields(Limit)} | known)

    def distance(self, runs: list[Record], seconds: float) -> DistanceToLimit | None:
        """Return a cell's floors and how many times them its typical epoch takes; None where no run was calibrated."""
        limit = next((found for found in map(self.limit, runs) if found), None)
        if limit is None:
            return None
        own = [field.name for field in fields(DistanceToLimit) if not field.name.startswith("times_")]
        return DistanceToLimit(
            **{name: getattr(limit, name) for name in own},
            times_operator_estimate=seconds / limit.operator_estimate_seconds,
            times_fused_bound=seconds / limit.fused_bound_seconds,
        )


def _place(record: Record) -> tuple:
    """Return what a peak belongs to: the machine, its accelerator, and how many threads or processes measured."""
    cell = record.cell
    threads = record.conditions.threads if cell.device == "cpu" else None
    return record.machine.fingerprint, cell.device, hardware(record), threads, cell.processes


def _work(record: Record) -> tuple:
    """Return what an estimate of the published operators depends on, beside the peaks."""
    cell = record.cell
    return *_place(record), cell.model, cell.precision, cell.batch_size, record.dataset.fingerprint
