"""The headline's ratio, one change at a time."""

from itertools import pairwise

from epochbench.aggregate.baseline import does_the_same_work, node_of, speedup_over
from epochbench.aggregate.labels import setting
from epochbench.aggregate.summary import CellSummary, Headline, Rung
from epochbench.timing.cell import COLUMNS, REQUIRED
from epochbench.timing.record import Record

SETTINGS = [name for name in COLUMNS if name not in REQUIRED]
# Layers `fused` have a layout of their own, leave nothing to compile and call no library of convolutions.
COMES_WITH_FUSED = ("memory_format", "execution", "autotune")


def ladder(
    cells: list[CellSummary], leading: Headline | None, by_cell: dict[str, list[Record]], confidence: float
) -> list[Rung]:
    """Return the steps from the headline's baseline to its best cell; their factors multiply to its ratio.

    Each rung changes one setting of the one before. Where the device changes, other settings may change with it, and
    where a cell failed a hard gate its neighbours are compared directly: such a rung names all its changes. Empty where
    the sheet's cells are no such chain, and where there is but one step from device to device.
    """
    if leading is None:
        return []
    rows = {row.cell: row for row in cells}
    path = _path(cells, rows[leading.baseline], rows[leading.best])
    if not any(_place(before) == _place(after) for before, after in pairwise(path)):
        return []
    first = Rung(path[0].cell, path[0].device, None, None, path[0].epoch_seconds.estimate, None)
    return [first, *(_rung(before, row, by_cell, confidence) for before, row in pairwise(path))]


def _path(cells: list[CellSummary], base: CellSummary, best: CellSummary) -> list[CellSummary]:
    """Return the cells from the baseline to the best one that failed no hard gate; empty without a chain."""
    rows = [row for row in cells if row is base or does_the_same_work(row, base)]
    first, last = ([row for row in rows if _place(row) == _place(side)] for side in (base, best))
    if _place(base) == _place(best):
        return _valid(_chains(first, base).get(best.cell, []))
    arrival = _valid(_chains(last, last[0]).get(best.cell, []))
    if not arrival:
        return []
    departure = _valid(_chains(first, base).get(_counterpart(first, arrival[0]).cell, []))
    return departure and departure + arrival


def _place(row: CellSummary) -> tuple[str, str]:
    return row.device, node_of(row.cell)


def _chains(rows: list[CellSummary], start: CellSummary) -> dict[str, list[CellSummary]]:
    """Return, for each row that is reached from the start in the sheet's order, the longest chain of single changes."""
    chains = {start.cell: [start]}
    for row in rows[rows.index(start) + 1 :]:
        ways = [chain for chain in chains.values() if len(_changes(chain[-1], row)) == 1]
        if ways:
            chains[row.cell] = [*max(ways, key=len), row]
    return chains


def _valid(chain: list[CellSummary]) -> list[CellSummary]:
    return [row for row in chain if row.valid]


def _counterpart(rows: list[CellSummary], arrival: CellSummary) -> CellSummary:
    """Return the fastest cell in framework and precision of the other device's first rung: like with like.

    Or else in its precision, or any.
    """
    ranked = sorted(_valid(rows), key=lambda row: row.epoch_seconds.estimate)
    alike = [row for row in ranked if row.settings.precision == arrival.settings.precision]
    same = [row for row in alike if row.settings.framework == arrival.settings.framework]
    return (same or alike or ranked)[0]


def _changes(before: CellSummary, after: CellSummary) -> list[str]:
    """Return the names of what a cell sets otherwise than another; a step written by hand is one change."""
    by_hand = before.settings.layers != after.settings.layers == "fused"
    names = [name for name in SETTINGS if not (by_hand and name in COMES_WITH_FUSED)]
    return [name for name in names if getattr(before.settings, name) != getattr(after.settings, name)]


def _rung(before: CellSummary, row: CellSummary, by_cell: dict[str, list[Record]], confidence: float) -> Rung:
    changes = _changes(before, row)
    old, new = ([(name, getattr(side.settings, name)) for name in changes] for side in (before, row))
    told = [f"{name}: {_shown(name, value)} to {_shown(*after)}" for (name, value), after in zip(old, new, strict=True)]
    return Rung(
        cell=row.cell,
        device=row.device,
        changed=_with_crossing(before, row, [setting(*after, row.device) for after in new]),
        settings=_with_crossing(before, row, told),
        seconds=row.epoch_seconds.estimate,
        factor=speedup_over(by_cell[before.cell], by_cell[row.cell], confidence),
    )


def _shown(name: str, value: object) -> str:
    return COLUMNS[name].empty or "none" if value is None else str(value)


def _with_crossing(before: CellSummary, row: CellSummary, changes: list[str]) -> str:
    """Return all that a rung changes: the device first, and with it whatever else."""
    device = f"{before.device.upper()} to {row.device.upper()}" if before.device != row.device else ""
    machine = "another machine" if node_of(before.cell) != node_of(row.cell) else ""
    crossing = " on ".join(filter(None, (device, machine)))
    return ", and with it ".join(filter(None, (crossing, ", ".join(changes))))
