"""The figure of the cells' epoch times over many exports."""

from collections import Counter
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import matplotlib.pyplot as plt

from epochbench.aggregate.history import History, Series
from epochbench.report.lettering import POINTS_PER_INCH, drawn_names, in_lines, inches_of
from epochbench.report.style import (
    EPOCH_AXIS,
    GREY,
    INK,
    LINE_HEIGHT,
    MARKERS,
    PHONE_INCHES,
    PHONE_POINTS,
    RULE,
    SERIES,
    SOFT,
    WIDTH_INCHES,
    Figure,
    as_svg,
    plain_log_axis,
    save,
    themed,
)

POINTS, LINES = 8, 3
LABEL_INCHES = 3.0
AXES_INCHES = {WIDTH_INCHES: 5.6, PHONE_INCHES: 3.3}
# Of an export's name below the axis where it stands, since it has no room to lie.
STANDING_INCHES = 1.5


def drawn_series(history: History) -> list[Series]:
    """Return the series that have a line: those of several exports, or all where there is no such."""
    return [one for one in history.series if len(one.points) > 1] or history.series


def draw_history(history: History, path: Path) -> Figure:
    """Draw a line for each series over the exports, epoch times on a logarithmic axis, into an SVG; return both forms.

    A line never joins different machines or data; where a cell has several lines, each names its machine and data.
    """
    with themed():
        save(wide(history), [path])
        return Figure(path.read_text(), as_svg(narrow(history)))


def wide(history: History) -> plt.Figure:
    """Return the figure with each line's name at its end."""
    series = drawn_series(history)
    names = drawn_names(_names(series), LABEL_INCHES, POINTS, LINES)
    room = POINTS * LINE_HEIGHT / POINTS_PER_INCH * max(name.count("\n") + 1 for name in names)
    figure, axes = plt.subplots(
        figsize=(WIDTH_INCHES, max(4.2, 1.4 + STANDING_INCHES + room * len(series))), layout="constrained"
    )
    colours = _draw_lines(axes, history, series, WIDTH_INCHES)
    _label_ends(axes, series, names, colours, room)
    return figure


def narrow(history: History) -> plt.Figure:
    """Return the figure with a number at each line's end and the names below, in lines of the whole width."""
    series = drawn_series(history)
    names = [
        in_lines(f"{number}  {words}", PHONE_INCHES * 0.95, PHONE_POINTS, LINES)
        for number, (words, _) in enumerate(_names(series), start=1)
    ]
    line = PHONE_POINTS * LINE_HEIGHT / POINTS_PER_INCH
    below, above = line * (sum(map(len, names)) + 1), max(3.2, 1 + STANDING_INCHES + line * len(series))
    figure, axes = plt.subplots(figsize=(PHONE_INCHES, above + below), layout="constrained")
    figure.get_layout_engine().set(rect=(0, below / (above + below), 1, above / (above + below)))
    colours = _draw_lines(axes, history, series, PHONE_INCHES)
    _label_ends(axes, series, [str(number) for number in range(1, len(series) + 1)], colours, line)
    top = below
    for lines, colour in zip(names, colours, strict=True):
        figure.text(
            0.02, top / (above + below), "\n".join(lines), va="top", fontsize=PHONE_POINTS, linespacing=1.1,
            color=colour if colour != GREY else INK,
        )  # fmt: skip
        top -= line * len(lines)
    return figure


def _names(series: Sequence[Series]) -> list[tuple[str, str]]:
    """Return each line in words and by its cell's name, with machine and data where the cell has several lines."""
    lines = Counter(one.cell for one in series)
    return [(one.label, one.cell) if lines[one.cell] == 1 else (one.name, f"{one.cell}, {one.place}") for one in series]


def _draw_lines(axes, history: History, series: Sequence[Series], inches: float) -> list[str]:
    """Draw every line and the exports' names below; return the lines' colours: grey where there are too many."""
    colours = SERIES[: len(series)] if len(series) <= len(SERIES) else [GREY] * len(series)
    for one, colour, marker in zip(series, colours, cycle(MARKERS), strict=False):
        _draw_series(axes, one, colour, marker)
    last = len(history.exports) - 1
    axes.set(yscale="log", xlim=(-0.3, last + 0.3))
    # Above the axis, since it may be longer than the axis is high.
    axes.set_title(EPOCH_AXIS, loc="left", fontsize=PHONE_POINTS, color=SOFT)
    _name_exports(axes, history.exports, AXES_INCHES[inches] / (last + 0.6))
    plain_log_axis(axes, vertical=True)
    return list(colours)


def _draw_series(axes, series: Series, colour: str, marker: str) -> None:
    places, typical = [place for place, _ in series.points], [interval for _, interval in series.points]
    axes.plot(places, [one.estimate for one in typical], marker=marker, markersize=5, color=colour)
    for place, one in series.points:
        if one.low is not None:
            axes.plot([place, place], [one.low, one.high], color=colour, linewidth=2.5, alpha=0.5)


def _name_exports(axes, exports: Sequence[str], room: float) -> None:
    """Write the exports' names below the axis: `room` inches lie between two; every so many where they are close."""
    pairs = [(name, name) for name in exports]
    widest = max(inches_of(word, POINTS) for name in exports for word in name.split())
    lying = room * 0.92 >= widest
    line = POINTS * LINE_HEIGHT / POINTS_PER_INCH
    every = 1 if lying else max(1, -int(-2 * line // room))
    names = drawn_names(pairs, room * 0.92 if lying else STANDING_INCHES, POINTS, 4 if lying else 2)
    shown = range(0, len(exports), every)
    axes.set_xticks(list(shown), [names[place] for place in shown], rotation=0 if lying else 90, fontsize=POINTS)


def _label_ends(axes, series: Sequence[Series], names: Sequence[str], colours: Sequence[str], room: float) -> None:
    """Write each line's name right of the axes, at the height of its end or as near as the others leave room."""
    ends = [axes.transData.transform((0, one.points[-1][1].estimate))[1] for one in series]
    inverse = axes.transAxes.inverted()
    heights = [inverse.transform((0, end))[1] for end in ends]
    step = room / (axes.get_position().height * axes.figure.get_figheight())
    for name, end, height, colour in zip(names, heights, apart(heights, step), colours, strict=True):
        axes.annotate(
            name, (1, end), (1.04, height), xycoords="axes fraction", textcoords="axes fraction",
            fontsize=POINTS, va="center", color=colour if colour != GREY else INK, annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": RULE, "linewidth": 0.5},
        )  # fmt: skip


def apart(heights: Sequence[float], step: float) -> list[float]:
    """Return places at least a step apart, in the order of the heights and as near to them as going upwards leaves."""
    order = sorted(range(len(heights)), key=lambda number: heights[number])
    # As many as do not fit begin further down.
    below = max(
        0.0, max((heights[number] + step * (len(order) - 1 - rank) for rank, number in enumerate(order)), default=0) - 1
    )
    places, lowest = [0.0] * len(heights), float("-inf")
    for number in order:
        lowest = places[number] = max(heights[number] - below, lowest + step)
    return places
