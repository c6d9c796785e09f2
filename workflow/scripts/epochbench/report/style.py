"""What all figures share: colours, sizes, the theme, and how they are saved."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from epochbench.stats import Interval

# Okabe and Ito's colours, distinct for every kind of colour vision and in grey (Okabe & Ito 2008).
GREY = "#6b6b6b"
COLOURS = {"cpu": "#0072B2", "gpu": "#D55E00", "published": GREY}
INK = "#222222"
ROW_INCHES = 0.46
WIDTH_INCHES = 9.6
PRINT_DPI = 300
TICKS_PER_INCH = 1.6
# Of the height: 300 dots an inch for up to 65 rows, and a picture that programs still open for thousands.
MOST_PIXELS = 10_000
# Without these a file would differ each time it is drawn.
REPRODUCIBLE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
STYLE = {
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#bbbbbb",
    "grid.color": "#e6e6e6",
    "svg.hashsalt": "epochbench",
    "svg.fonttype": "path",
}


@contextlib.contextmanager
def themed() -> Iterator[None]:
    """Draw in the one theme that all figures share."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.05), plt.rc_context(STYLE):
        yield


def save(figure: Figure, paths: Iterable[Path]) -> None:
    """Write a figure into each path, in the format of its suffix, the same bytes each time; then forget it."""
    # The layout is the same in every format; it would be computed anew for each.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    dots = min(PRINT_DPI, MOST_PIXELS / figure.get_figheight())
    for path in paths:
        kind = path.suffix[1:]
        figure.savefig(path, dpi=dots, metadata=REPRODUCIBLE[kind])
    plt.close(figure)


def interval_mark(axes: Axes, position: float, interval: Interval, colour: str) -> None:
    """Draw an estimate and, where it has one, its interval."""
    if interval.low is not None:
        axes.plot([interval.low, interval.high], [position] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(interval.estimate, position, marker="o", markersize=6, color=colour, markeredgecolor="white", zorder=5)


def value_beside(axes: Axes, position: float, right: float, text: str) -> None:
    """Write a value beside the right end of its mark."""
    axes.annotate(
        text, (right, position), (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK, zorder=6
    )


def plain_log_axis(axes: Axes, unit: str = "") -> None:
    """Number a log axis in plain figures, a unit behind them, and at 2 and 5 too where it spans little."""
    low, high = axes.get_xlim()
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    # Fewer than twelve ticks in a narrow axis: "10,000x" needs its room.
    room = max(3, round(axes.get_position().width * WIDTH_INCHES * TICKS_PER_INCH))
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=room))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}{unit}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="y")
    sns.despine(ax=axes, left=True)
