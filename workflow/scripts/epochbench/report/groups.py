"""Rows of a figure by framework, where there is more than one."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from epochbench.aggregate.framework_names import name_of
from epochbench.aggregate.summary import CellSummary, Summary


@dataclass(frozen=True)
class Layout:
    """The cells of a figure in the order of their rows, and the places of these and of the headings above them."""

    cells: list[CellSummary]
    positions: list[int]
    headings: dict[int, str] = field(default_factory=dict)  # by place; empty with one framework

    @property
    def rows(self) -> int:
        """Return how many rows there are, headings included."""
        return len(self.cells) + len(self.headings)


def has_several_frameworks(summary: Summary) -> bool:
    """Tell whether the cells are of more than one framework."""
    return len({row.settings.framework for row in summary.cells}) > 1


def grouped(cells: Iterable[CellSummary]) -> Layout:
    """Return cells slowest first: by framework where there are several, that with the fastest cell last."""
    cells = sorted(cells, key=lambda row: -row.epoch_seconds.estimate)
    order = list(dict.fromkeys(row.settings.framework for row in reversed(cells)))[::-1]
    if len(order) == 1:
        return Layout(cells, list(range(len(cells))))
    rows, positions, headings = [], [], {}
    for framework in order:
        headings[len(rows) + len(headings)] = name_of(framework)
        for row in (row for row in cells if row.settings.framework == framework):
            positions.append(len(rows) + len(headings))
            rows.append(row)
    return Layout(rows, positions, headings)
