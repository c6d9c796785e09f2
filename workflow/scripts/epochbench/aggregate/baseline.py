"""What a cell is compared with."""

from dataclasses import replace

from epochbench.aggregate.summary import CellSummary
from epochbench.foreign import is_file
from epochbench.stats import Interval, speedup
from epochbench.timing.record import Record


def baseline_name(asked: str, by_cell: dict[str, list[Record]]) -> str:
    """Return the baseline's cell: this machine's, or else the only imported one of that name."""
    imported = [cell for cell in by_cell if cell.split("@")[0] == asked]
    return imported[0] if asked not in by_cell and len(imported) == 1 else asked


def baselines(name: str, by_cell: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Return each network's baseline: the one that the config names, for other networks their first cell.

    Empty where the named one has no record.
    """
    base = by_cell.get(name)
    if base is None:
        return {}
    first = {}
    for runs in by_cell.values():
        first.setdefault(runs[0].cell.model, runs)
    return first | {base[0].cell.model: base}


def without_wrong_baselines(cells: list[CellSummary]) -> list[CellSummary]:
    """Return the cells without any speedup over a cell that failed a hard gate: a wrong number divides nothing."""
    wrong = {row.cell for row in cells if not row.valid}
    return [_without_speedup(row) if row.baseline in wrong else row for row in cells]


def _without_speedup(row: CellSummary) -> CellSummary:
    flag = f"no speedup, since {row.baseline} failed a hard gate"
    return replace(row, baseline=None, speedup=None, verdict=None, flags=[*row.flags, flag])


def is_comparable(record: Record, baseline: Record) -> bool:
    """Tell whether a ratio of two cells means anything: the same data and the same network."""
    return _work(record) == _work(baseline)


def _work(record: Record) -> tuple[str, str, str | None]:
    """Return the data and the network; of a user's own file its content too, since others may call theirs the same."""
    own = record.network is not None and is_file(record.cell.model)
    return record.dataset.fingerprint, record.cell.model, record.network.source if own else None


def speedup_over(base: list[Record], runs: list[Record], confidence: float) -> Interval:
    """Return how many times faster a cell is than another; than itself it is 1, and not in doubt."""
    if base is runs:
        return Interval(1.0, 1.0, 1.0)
    return speedup(epoch_times(base), epoch_times(runs), confidence, (first_of(base), first_of(runs)))


def first_of(runs: list[Record]) -> int | None:
    """Return how many of a cell's runs are of the first stage; None where all are, or an older record does not say."""
    known = [run.first_runs for run in runs if run.first_runs]
    count = sum(run.run <= max(known, default=0) for run in runs)
    return count if 1 < count < len(runs) else None


def epoch_times(runs: list[Record]) -> list[list[float]]:
    """Return the timed epochs of each run, in seconds."""
    return [run.timing.epoch_seconds for run in runs]


def node_of(cell: str) -> str:
    """Return the node in the name of an imported cell, an empty text for a cell that was timed here."""
    return cell.partition("@")[2]


def does_the_same_work(row: CellSummary, base: CellSummary) -> bool:
    """Tell whether a cell does the baseline's work: the same data, network and batch size."""
    one, other = row.settings, base.settings
    return row.speedup is not None and (one.model, one.batch_size) == (other.model, other.batch_size)
