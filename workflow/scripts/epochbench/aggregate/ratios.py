"""Ratios between the fastest of cells, with an allowance for their having been picked."""

from collections.abc import Iterable

from epochbench.aggregate.baseline import epoch_times, first_runs, speedup_over
from epochbench.aggregate.contrast import count_close
from epochbench.aggregate.machines import other_software
from epochbench.aggregate.summary import CellSummary
from epochbench.stats import Interval, simultaneous, typical_epoch
from epochbench.timing.record import Record


class Ratios:
    """Cells against each other, from the runs of each; which is the fastest, their first runs tell."""

    def __init__(self, by_cell: dict[str, list[Record]], confidence: float):
        self.by_cell, self.confidence = by_cell, confidence

    def fastest_first(self, rows: Iterable[CellSummary]) -> list[CellSummary]:
        """Return rows by their epoch time in the first runs: further ones are made of the leading cell alone."""
        return sorted(rows, key=lambda row: typical_epoch(self._first_times(row)).estimate)

    def ratio(self, slow: CellSummary, fast: CellSummary, close: tuple[int, int], together: int = 1) -> Interval:
        """Return how many times faster a cell is, each side the fastest of some (Spread.close).

        Its interval is one of so many that hold together.
        """
        confidence = simultaneous(self.confidence, together)
        return speedup_over(self.by_cell[slow.cell], self.by_cell[fast.cell], confidence, close)

    def close(self, picked: CellSummary, rows: Iterable[CellSummary]) -> int:
        """Return from how many cells, itself included, one was picked that the first runs do not tell apart."""
        others = [self._first_times(row) for row in rows if row is not picked]
        return count_close(self._first_times(picked), others, self.confidence)

    def unlike(self, slow: CellSummary, fast: CellSummary) -> list[str]:
        """Return in words in what code and software two cells differ; frameworks of two names differ anyway."""
        sides = self.by_cell[fast.cell], self.by_cell[slow.cell]
        codes = [{run.code.digest for run in side} for side in sides]
        return (["other timing code"] if codes[0] != codes[1] else []) + other_software(*sides)

    def _first_times(self, row: CellSummary) -> list[list[float]]:
        return epoch_times(first_runs(self.by_cell[row.cell]))
