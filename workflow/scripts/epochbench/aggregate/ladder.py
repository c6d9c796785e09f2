"""The ratio, one change at a time."""

from epochbench.aggregate.baseline import speedup_over
from epochbench.aggregate.summary import CellSummary, Rung
from epochbench.timing.cell import COLUMNS, REQUIRED
from epochbench.timing.record import Record

SETTINGS = [name for name in COLUMNS if name not in REQUIRED]


def ladder(cells: list[CellSummary], by_cell: dict[str, list[Record]], confidence: float) -> list[Rung]:
    """Return the rungs from each device's first cell to its last, as long as each changes one setting.

    A rung names what it changes, and by how much it is faster than the rung before (`factor`, an interval). Where both
    devices have a ladder, the GPU's begins with the step over from the last CPU rung.
    """
    rungs, last = [], None
    for device in ("cpu", "gpu"):
        chain = _chain([row for row in cells if row.device == device and row.counts])
        if len(chain) < 2 and not (chain and last):
            continue
        for before, row in zip([last, *chain], chain, strict=False):
            rungs.append(_rung(before, row, by_cell, confidence))
        last = chain[-1]
    return rungs if len(rungs) > 1 else []


def _chain(rows: list[CellSummary]) -> list[CellSummary]:
    """Return the longest beginning of a sheet's rows in which each row differs from the one before in one setting."""
    chain = rows[:1]
    for row in rows[1:]:
        if len(_changes(chain[-1], row)) != 1:
            break
        chain.append(row)
    return chain


def _changes(before: CellSummary, after: CellSummary) -> list[str]:
    """Return what a cell sets otherwise than another, in words."""
    pairs = [(name, getattr(before.settings, name), getattr(after.settings, name)) for name in SETTINGS]
    return [f"{name}: {_shown(old)} to {_shown(new)}" for name, old, new in pairs if old != new]


def _shown(value: object) -> str:
    return "all" if value is None else str(value)


def _rung(before: CellSummary | None, row: CellSummary, by_cell: dict[str, list[Record]], confidence: float) -> Rung:
    seconds = row.epoch_seconds.estimate
    if before is None:
        return Rung(row.cell, row.device, None, seconds, None)
    changed = "CPU to GPU" if before.device != row.device else _changes(before, row)[0]
    factor = speedup_over(by_cell[before.cell], by_cell[row.cell], confidence)
    return Rung(row.cell, row.device, changed, seconds, factor)
