"""The figure of the cells' epoch times over many exports."""

import textwrap
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns

from epochbench.aggregate.history import History, Series
from epochbench.report.style import (
    EPOCH_AXIS,
    GREY,
    PHONE_INCHES,
    RULE,
    WIDTH_INCHES,
    Figure,
    as_svg,
    plain_log_axis,
    save,
    themed,
)

# More lines than colours that can be told apart are drawn in grey, labelled at their ends like the others.
COLOURED = 8
LABEL_INCHES = 0.2
WIDE_LETTERS, PHONE_LETTERS = 60, 26


def drawn_series(history: History) -> list[Series]:
    """Return the series that have a line: those of several exports, or all where there is no such."""
    return [one for one in history.series if len(one.points) > 1] or history.series


def draw_history(history: History, path: Path) -> Figure:
    """Draw a line for each series over the exports, epoch times on a logarithmic axis, into an SVG; return both forms.

    A line never joins different machines or data; where a cell has several lines, each names its machine and data.
    """
    with themed():
        save(_drawn(history, WIDTH_INCHES, WIDE_LETTERS), [path])
        return Figure(path.read_text(), as_svg(_drawn(history, PHONE_INCHES, PHONE_LETTERS)))


def _drawn(history: History, inches: float, letters: int):
    palette, series = sns.color_palette("colorblind", COLOURED), drawn_series(history)
    figure, axes = plt.subplots(figsize=(inches, max(3.2, 1.2 + LABEL_INCHES * len(series))), layout="constrained")
    colours = [palette[number] if len(series) <= COLOURED else GREY for number in range(len(series))]
    for one, colour in zip(series, colours, strict=True):
        _draw_series(axes, one, colour)
    last = len(history.exports) - 1
    names = ["\n".join(textwrap.wrap(name, 14)) for name in history.exports]
    axes.set_xticks(range(last + 1), names, rotation=90 if last * letters > 200 else 0)
    axes.set(yscale="log", ylabel=EPOCH_AXIS, xlim=(-0.3, last + 0.3))
    _label_lines(axes, series, colours, letters)
    plain_log_axis(axes, vertical=True)
    return figure


def _draw_series(axes, series: Series, colour) -> None:
    places, typical = [place for place, _ in series.points], [interval for _, interval in series.points]
    axes.plot(places, [one.estimate for one in typical], marker="o", markersize=5, color=colour)
    for place, one in series.points:
        if one.low is not None:
            axes.plot([place, place], [one.low, one.high], color=colour, linewidth=2.5, alpha=0.5)


def _label_lines(axes, series: Sequence[Series], colours: Sequence, letters: int) -> None:
    """Write each line's name right of the axes, at the height of its end or as near as the others leave room."""
    lines = Counter(one.cell for one in series)
    names = [one.label if lines[one.cell] == 1 else one.name for one in series]
    ends = [axes.transData.transform((0, one.points[-1][1].estimate))[1] for one in series]
    inverse = axes.transAxes.inverted()
    heights = [inverse.transform((0, end))[1] for end in ends]
    step = LABEL_INCHES / (axes.get_position().height * axes.figure.get_figheight())
    for number, height in zip(range(len(series)), apart(heights, step), strict=True):
        name = textwrap.shorten(
            names[number], letters * (1 if lines[series[number].cell] == 1 else 2), placeholder=" …"
        )
        axes.annotate(
            name, (1, heights[number]), (1.04, height), xycoords="axes fraction", textcoords="axes fraction",
            fontsize=8, va="center", color=colours[number], annotation_clip=False,
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
