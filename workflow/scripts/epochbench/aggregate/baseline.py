"""What a cell is compared with."""

from dataclasses import replace

from epochbench.aggregate.disturbed import ENOUGH_RUNS
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
    """Tell whether a ratio of two cells means anything: the same data in the same place, network and optimiser."""
    return _work(record) == _work(baseline)


def _work(record: Record) -> tuple[str | None, ...]:
    """Return what was trained on what, and how; of a user's own file its content too, since others may be called so."""
    own = record.network is not None and is_file(record.cell.model)
    network = record.cell.model, record.network.source if own else None
    return record.dataset.fingerprint, *network, record.protocol.optimizer, record.protocol.residency


def speedup_over(
    base: list[Record], runs: list[Record], confidence: float, close: tuple[int, int] = (1, 1)
) -> Interval:
    """Return how many times faster a cell is than another; than itself it is 1, and not in doubt.

    `close` is as in stats.speedup.
    """
    if base is runs:
        return Interval(1.0, 1.0, 1.0)
    return speedup(epoch_times(base), epoch_times(runs), confidence, (first_of(base), first_of(runs)), close)


def first_of(runs: list[Record]) -> int | None:
    """Return how many of a cell's runs, in their order, tell its spread; None where all do, or none says.

    They are those of the first stage that count. Where fewer than two of them do, the next runs that count stand in,
    until there are as many as the first stage has. So which they are depends on what was disturbed, never on a time.
    """
    planned = max((run.first_runs or 0 for run in runs), default=0)
    count = sum(run.run <= planned for run in runs)
    count = count if count >= ENOUGH_RUNS else planned
    return count if ENOUGH_RUNS <= count < len(runs) else None


def first_runs(runs: list[Record]) -> list[Record]:
    """Return the runs that tell a cell's spread, by which it is also chosen among others."""
    return runs[: first_of(runs)]


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
