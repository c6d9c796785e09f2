"""Which runs of a cell count: those that nothing disturbed, as long as there are enough of them.

A run knows what disturbed it while it was timed. Seen from the end there is more to know: a calibration that seemed
usual may turn out to be far below what the same machine reached in other runs.
"""

from statistics import median

from epochbench.aggregate.machines import hardware
from epochbench.aggregate.summary import TrySummary
from epochbench.timing.quiet import MIN_CALIBRATION_SHARE
from epochbench.timing.record import Record, runs_by_cell

# One run has no interval: fewer undisturbed ones than this, and all are taken, with a flag.
ENOUGH_RUNS = 2

Usual = dict[tuple, float]


def usual_calibrations(records: list[Record]) -> Usual:
    """Return the highest fp32 matrix product, in FLOP/s, of each machine, device, number of threads and processes."""
    reached: dict[tuple, list[float]] = {}
    for record in records:
        reached.setdefault(_key(record), []).extend(_calibrations(record))
    return {key: max(values) for key, values in reached.items() if values}


def _key(record: Record) -> tuple:
    """Return what a calibration belongs to; that of a team is what all its processes reached together."""
    cell, machine = record.cell, record.machine
    return machine.fingerprint, cell.device, hardware(record), record.conditions.threads, cell.processes


def _calibrations(record: Record) -> list[float]:
    tried = [one.matrix_flop_per_second for one in record.tries]
    known = record.peaks.matrix_flop_per_second.get("fp32") if record.peaks else None
    return tried or ([known] if known else [])


def disturbed_by(record: Record, usual: Usual) -> list[str]:
    """Return what disturbed the try of a run that counts, in words; an empty list where nothing did."""
    if not record.tries:
        return []
    return _with_hindsight(record, record.tries[-1].disturbed_by, record.tries[-1].matrix_flop_per_second, usual)


def _with_hindsight(record: Record, noted: list[str], reached: float, usual: Usual) -> list[str]:
    share = reached / usual[_key(record)]
    if share >= MIN_CALIBRATION_SHARE or any("matrix product" in reason for reason in noted):
        return noted
    return [*noted, f"the matrix product reached {share:.0%} of what this machine reached in other runs"]


def counting_runs(runs: list[Record], usual: Usual) -> list[Record]:
    """Return the undisturbed runs of a cell in their order, or all where fewer than two are undisturbed."""
    runs = sorted(runs, key=lambda run: run.run)
    quiet = [run for run in runs if not disturbed_by(run, usual)]
    return quiet if len(quiet) >= ENOUGH_RUNS else runs


def counting_by_cell(records: list[Record]) -> dict[str, list[Record]]:
    """Return the runs of each cell that count, cells in the order in which they came."""
    usual = usual_calibrations(records)
    return {cell: counting_runs(runs, usual) for cell, runs in runs_by_cell(records).items()}


def tries_of(runs: list[Record], usual: Usual) -> list[TrySummary]:
    """Return every try of a cell's runs: what it took, what disturbed it, and whether it counts."""
    counting = {run.run for run in counting_runs(runs, usual)}
    return [
        TrySummary(
            run=run.run,
            number=number,
            is_last=number == len(run.tries),
            median_seconds=float(median(one.epoch_seconds)),
            waited_seconds=one.waited_seconds,
            disturbed_by=_with_hindsight(run, one.disturbed_by, one.matrix_flop_per_second, usual),
            counts=run.run in counting and number == len(run.tries),
        )
        for run in runs
        for number, one in enumerate(run.tries, start=1)
    ]
