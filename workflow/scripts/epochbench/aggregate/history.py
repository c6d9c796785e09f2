"""How the cells' epoch times went over many exports."""

from dataclasses import dataclass
from pathlib import Path

from epochbench.aggregate.baseline import epoch_times
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import read_export
from epochbench.stats import Interval, typical_epoch
from epochbench.timing.record import Record, runs_by_cell


@dataclass(frozen=True)
class History:
    """The cells' typical epochs in each export, oldest first.

    `series` has the points of each cell: the export's place among `exports`, and the typical epoch there in seconds.
    """

    exports: list[str]
    series: dict[str, list[tuple[int, Interval]]]
    left_out: list[str]


def read_history(paths: list[str]) -> History:
    """Read exports, oldest first by the time at which each was made.

    Raises BenchmarkError where none is named, or one cannot be read.
    """
    if not paths:
        raise BenchmarkError("compare.history is empty; name exports: make history EXPORTS='a.zip b.zip'")
    exports = sorted(((Path(path).stem, read_export(path)) for path in paths), key=lambda pair: pair[1].created_at)
    return History(
        exports=[f"{stem}, {export.created_at[:10]}" for stem, export in exports],
        series=_series([export.records for _, export in exports]),
        left_out=[f"{file.file}: {file.reason}" for _, export in exports for file in export.left_out],
    )


def _series(exports: list[list[Record]]) -> dict[str, list[tuple[int, Interval]]]:
    series = {}
    for place, records in enumerate(exports):
        for cell, runs in runs_by_cell(records).items():
            series.setdefault(cell, []).append((place, typical_epoch(epoch_times(runs))))
    return series
