"""The board's chart: epoch times on a logarithmic axis, so that each ratio is a distance, in SVG that follows the page.

Positions are shares of the width and texts are the page's own, so that it is legible on a phone, in the dark, and where
the page is read aloud.
"""

import math
from dataclasses import dataclass
from statistics import median

from epochbench import wording
from epochbench.aggregate.board import Table
from epochbench.aggregate.result import Result, Side
from epochbench.stats import Interval

# Pairs of machines that are drawn; the table has all.
MOST_ROWS = 30
# Of the width, left free on both sides, in percent.
MARGIN = 2.0
MOST_TICKS = 6


@dataclass(frozen=True)
class Dot:
    """One typical epoch in a row."""

    kind: str  # typed, cpu or best
    left: float  # percent of the width
    title: str  # in words


@dataclass(frozen=True)
class Row:
    """One pair of machines: the median of its results, if there are several."""

    label: str
    ratios: str
    dots: list[Dot]

    @property
    def times(self) -> str:
        """Return its epochs in words."""
        return ", ".join(dot.title for dot in reversed(self.dots))

    @property
    def ends(self) -> tuple[float, float]:
        """Return where its first and its last dot are, in percent of the width."""
        return min(dot.left for dot in self.dots), max(dot.left for dot in self.dots)


@dataclass(frozen=True)
class Chart:
    """Rows, and an axis of seconds."""

    rows: list[Row]
    ticks: list[tuple[float, str]]  # percent of the width, and the time there
    left_out: int  # pairs of machines that are not drawn


def draw_chart(table: Table) -> Chart:
    """Return a table's chart: a row for each pair of machines, the fastest first, at most MOST_ROWS of them."""
    pairs: dict[tuple[str, str, bool], list[Result]] = {}
    for one in table.results:
        pairs.setdefault((one.best.hardware, one.baseline.hardware, one.has_gpu), []).append(one)
    drawn = sorted(pairs.values(), key=_median_epoch)[:MOST_ROWS]
    axis = _Axis([seconds for same in drawn for _, seconds, _ in _times(same)])
    return Chart([_row(same, axis) for same in drawn], axis.ticks(), len(pairs) - len(drawn))


def _median_epoch(same: list[Result]) -> float:
    return median(one.best.epoch_seconds.estimate for one in same)


def _times(same: list[Result]) -> list[tuple[str, float, str]]:
    """Return the kind of each side of some results, its median epoch in seconds, and what it is."""
    sides: dict[str, tuple[list[Side], str]] = {"typed": ([one.baseline for one in same], "CPU as typed")}
    best_cpus = [one.best_cpu for one in same if one.best_cpu]
    if best_cpus:
        sides["cpu"] = best_cpus, "CPU at its best"
    lead = "accelerator" if same[0].has_gpu else "CPU at its best"
    sides["best" if same[0].has_gpu else "cpu"] = [one.best for one in same], lead
    return [(kind, median(side.epoch_seconds.estimate for side in each), word) for kind, (each, word) in sides.items()]


def _row(same: list[Result], axis: "_Axis") -> Row:
    first = same[0]
    label = f"{first.best.hardware}, {first.baseline.hardware}" if first.has_gpu else first.baseline.hardware
    several = f" ({len(same)} results, median)" if len(same) > 1 else ""
    over = [_typical([one.over_baseline for one in same]), _typical([one.over_best_cpu for one in same])]
    return Row(
        label=f"{label}{several}",
        ratios=" \N{MIDDLE DOT} ".join(filter(None, over)),
        dots=[Dot(kind, axis.place(each), f"{word} {wording.seconds(each)}") for kind, each, word in _times(same)],
    )


def _typical(ratios: list[Interval | None]) -> str:
    """Return a ratio in words: the only one with the digits that its interval allows, of several the median."""
    known = [ratio for ratio in ratios if ratio]
    if len(known) == 1:
        return wording.ratio(known[0])
    return f"{wording.significant(median(one.estimate for one in known), 2)}x" if known else ""


class _Axis:
    """A logarithmic axis of seconds over the width."""

    def __init__(self, seconds: list[float]):
        self.low, self.high = math.log10(min(seconds)), math.log10(max(seconds))

    def place(self, seconds: float) -> float:
        """Return where a time stands, in percent of the width."""
        share = (math.log10(seconds) - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(MARGIN + share * (100 - 2 * MARGIN), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the whole powers of ten in between, at most MOST_TICKS; where there is hardly one, 2 and 5 too."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        steps = (1,) if self.high - self.low > 1.5 else (1, 2, 5)
        values = [step * 10.0**power for power in powers for step in steps]
        inside = [value for value in values if self.low <= math.log10(value) <= self.high]
        every = math.ceil(len(inside) / MOST_TICKS) or 1
        return [(self.place(value), wording.seconds(value, 1)) for value in inside[::every]]
