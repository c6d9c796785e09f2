"""How the cells' epoch times went over many exports."""

import matplotlib.pyplot as plt
import seaborn as sns

from epochbench.report.figure import ROW_INCHES, WIDTH_INCHES, plain_log_axis, save, themed
from epochbench.statistics import Interval

# More lines than colours that can be told apart are drawn in grey, labelled at their ends like the others.
COLOURED = 8


def draw_history(names: list[str], series: dict[str, list[tuple[int, Interval]]], path) -> str:
    """Draw a line for each cell over the exports, epoch times on a logarithmic axis, into an SVG; return its text."""
    palette = sns.color_palette("colorblind", COLOURED)
    with themed():
        height = 2.5 + ROW_INCHES * len(names)
        figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        for number, (cell, points) in enumerate(series.items()):
            colour = palette[number] if len(series) <= COLOURED else "#6b6b6b"
            rows, typical = [row for row, _ in points], [interval for _, interval in points]
            axes.plot([one.estimate for one in typical], rows, marker="o", markersize=5, color=colour)
            for row, one in points:
                if one.low is not None:
                    axes.plot([one.low, one.high], [row, row], color=colour, linewidth=2.5, alpha=0.5)
            axes.annotate(cell, (typical[0].estimate, rows[0]), (0, 8), textcoords="offset points", ha="center",
                          fontsize=8, color=colour, rotation=20)  # fmt: skip
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -1.1)
        axes.set(xscale="log", xlabel="seconds per training epoch (log scale), oldest export first")
        plain_log_axis(axes, lambda value, _: f"{value:,.10g}")
        save(figure, [path])
    return path.read_text()
