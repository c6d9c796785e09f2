"""How the cells' epoch times went over many exports."""

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from epochbench.aggregate.baseline import epoch_times, first_of, speedup_over
from epochbench.aggregate.compare import failed_gates, what_differs
from epochbench.aggregate.disturbed import counting_by_cell
from epochbench.aggregate.labels import labels
from epochbench.aggregate.machines import hardware
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import read_export
from epochbench.stats import Interval, typical_epoch
from epochbench.timing.cell import Cell
from epochbench.timing.record import Dataset, Record
from epochbench.unseen import visible


@dataclass(frozen=True)
class Series:
    """One cell on one machine and one data set: only such times are divided by each other."""

    cell: str  # its name
    label: str  # the same in words, unlike every other cell's
    machine: str  # the hardware and the host names
    data: str  # name and first letters of the fingerprint
    points: list[tuple[int, Interval]]  # the export's place among all, and the typical epoch there, s
    overall: Interval | None  # how many times faster in the newest export than in the oldest; None with one export
    notes: list[str]  # why it is apart from the cell's first series; what else changed from one export to the next

    @property
    def name(self) -> str:
        """Return the cell in words, the machine and the data in one line."""
        return f"{self.label}, {self.place}"

    @property
    def place(self) -> str:
        """Return the machine and the data in one line."""
        return f"{self.machine}, {self.data}"


@dataclass(frozen=True)
class History:
    """The cells' typical epochs in each export, oldest first."""

    exports: list[str]  # their names and days
    series: list[Series]  # those of one cell follow each other
    left_out: list[str]  # what was no valid record, and the cells that failed a hard gate


def read_history(paths: list[str], settings: Settings | None = None) -> History:
    """Read exports, oldest first by the time at which each was made.

    `settings` has what the sheet calls its cells. A cell that failed a hard gate is left out of its export. Raises
    BenchmarkError where none is named, one cannot be read, or nothing in any of them counts.
    """
    if not paths:
        raise BenchmarkError("compare.history is empty; name exports: make history EXPORTS='a.zip b.zip'")
    settings = settings or Settings()
    exports = sorted(((Path(path).stem, read_export(path)) for path in paths), key=lambda pair: pair[1].created_at)
    names = _told_apart([f"{visible(stem)}, {export.created_at[:10]}" for stem, export in exports])
    left_out = [f"{file.file}: {file.reason}" for _, export in exports for file in export.left_out]
    cells = []
    for name, (_, export) in zip(names, exports, strict=True):
        counting = counting_by_cell(export.records)
        wrong = {cell: gates for cell, runs in counting.items() if (gates := failed_gates(runs, settings))}
        left_out += [f"{name}: {cell}: hard gate failed: {', '.join(gates)}" for cell, gates in wrong.items()]
        cells.append({cell: runs for cell, runs in counting.items() if cell not in wrong})
    if not any(cells):
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise BenchmarkError(f"{', '.join(paths)}: no record that counts{why}; name other exports")
    return History(names, _in_words(_all_series(cells, settings), settings.labels), left_out)


def _told_apart(names: list[str]) -> list[str]:
    """Return the names, with a number behind those that occur before: each is a column of its own."""
    seen = Counter()
    told = []
    for name in names:
        seen[name] += 1
        told.append(f"{name} ({seen[name]})" if seen[name] > 1 else name)
    return told


def _in_words(series: list[tuple[Cell, Series]], own: dict[str, str]) -> list[Series]:
    """Return the series with their cells in words: what the sheet calls a cell, unless it was set in several ways."""
    kinds = dict.fromkeys(cell for cell, _ in series)
    ways = Counter(cell.cell for cell in kinds)
    names = {cell: cell.cell if ways[cell.cell] == 1 else f"{cell.cell}/{place}" for place, cell in enumerate(kinds)}
    words = labels({names[cell]: cell for cell in kinds}, own)
    return [replace(one, label=words[names[cell]]) for cell, one in series]


def _all_series(exports: list[dict[str, list[Record]]], settings: Settings) -> list[tuple[Cell, Series]]:
    """Return the series of every cell, one for each set of machines, data and settings that it was timed with."""
    cells = {}
    for place, by_cell in enumerate(exports):
        for cell, runs in by_cell.items():
            cells.setdefault(cell, {}).setdefault(_kind(runs), []).append((place, runs))
    return [
        (measured[0][1][0].cell, _series(measured, settings, apart=_apart(next(iter(kinds)), kind)))
        for kinds in cells.values()
        for kind, measured in kinds.items()
    ]


def _kind(runs: list[Record]) -> tuple:
    """Return what must be equal for two exports' times of a cell to be divided by each other."""
    facts = (
        (
            run.machine.fingerprint,
            run.dataset.fingerprint,
            run.protocol.optimizer,
            run.protocol.residency,
            run.cell.framework,
            replace(run.cell, framework=""),
        )
        for run in runs
    )
    return tuple(frozenset(values) for values in zip(*facts, strict=True))


def _apart(first: tuple, kind: tuple) -> list[str]:
    """Return in words why a series is another than the cell's first."""
    words = ("other machine", "other data", "other optimiser", "images elsewhere when the clock started",
             "other framework", "the cell sets something else")  # fmt: skip
    return [word for word, one, other in zip(words, first, kind, strict=True) if one != other]


def _series(measured: list[tuple[int, list[Record]]], settings: Settings, apart: list[str]) -> Series:
    oldest, newest = measured[0][1], measured[-1][1]
    steps = pairwise(measured)
    return Series(
        cell=oldest[0].cell.cell,
        label="",
        machine=f"{hardware(oldest[0])} ({', '.join(dict.fromkeys(visible(run.machine.node) for run in oldest))})",
        data=", ".join(dict.fromkeys(_data(run.dataset) for run in oldest)),
        points=[
            (place, typical_epoch(epoch_times(runs), settings.confidence, first_of(runs))) for place, runs in measured
        ],
        overall=speedup_over(oldest, newest, settings.confidence) if len(measured) > 1 else None,
        notes=apart + list(dict.fromkeys(note for (_, old), (_, new) in steps for note in what_differs(old, new))),
    )


def _data(dataset: Dataset) -> str:
    return f"{visible(dataset.name)} {dataset.fingerprint[:6]}"
