"""The figure of the cells' epoch times over many exports."""

from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns

from epochbench.aggregate.history import History, Series
from epochbench.report.style import GREY, ROW_INCHES, WIDTH_INCHES, plain_log_axis, save, themed

# More lines than colours that can be told apart are drawn in grey, labelled at their ends like the others.
COLOURED = 8


def draw_history(history: History, path: Path) -> str:
    """Draw a line for each series over the exports, epoch times on a logarithmic axis, into an SVG; return its text.

    A line never joins different machines or data; where a cell has several lines, each names its machine and data.
    """
    palette = sns.color_palette("colorblind", COLOURED)
    exports, series = history.exports, history.series
    lines = Counter(one.cell for one in series)
    with themed():
        height = 2.5 + ROW_INCHES * len(exports)
        figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        for number, one in enumerate(series):
            label = one.cell if lines[one.cell] == 1 else one.name
            _draw_series(axes, label, one, palette[number] if len(series) <= COLOURED else GREY)
        axes.set_yticks(range(len(exports)), exports)
        axes.set_ylim(len(exports) - 0.5, -1.1)
        axes.set(xscale="log", xlabel="seconds per training epoch (log scale), oldest export first")
        plain_log_axis(axes)
        save(figure, [path])
    return path.read_text()


def _draw_series(axes, label: str, series: Series, colour) -> None:
    rows, typical = [row for row, _ in series.points], [interval for _, interval in series.points]
    axes.plot([one.estimate for one in typical], rows, marker="o", markersize=5, color=colour)
    for row, one in series.points:
        if one.low is not None:
            axes.plot([one.low, one.high], [row, row], color=colour, linewidth=2.5, alpha=0.5)
    axes.annotate(
        label, (typical[0].estimate, rows[0]), (0, 8), textcoords="offset points", ha="center", fontsize=8,
        color=colour, rotation=20,
    )  # fmt: skip
