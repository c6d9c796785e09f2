"""What all figures share: colours, sizes, the theme, and how they are saved."""

import contextlib
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import seaborn as sns
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Drawing
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from epochbench.files import write_text
from epochbench.report.lettering import FONT, POINTS_PER_INCH, drawn_names, inches_of
from epochbench.stats import Interval

# Okabe and Ito's colours, distinct for every kind of colour vision and in grey (Okabe & Ito 2008).
GREY = "#6b6b6b"
COLOURS = {"cpu": "#0072b2", "gpu": "#d55e00", "published": GREY}
# Of lines that stand for something else each: at least 4.5 times as dark or bright as the ground, on paper and screen.
SERIES = ("#0068a8", "#b84a00", "#00735a", "#9c2f7c", "#76600a", "#5546b5", "#b0221c", "#4a5a66")
MARKERS = "osD^vPX*"
INK, SOFT, RULE, EDGE, GRID, PAPER = "#222222", "#555555", "#999999", "#bbbbbb", "#e6e6e6", "#ffffff"
# What a page has instead, so that one drawing serves the light and the dark: custom properties of its stylesheet.
PROPERTIES = {
    INK: "ink", SOFT: "soft", GREY: "soft", RULE: "rule", EDGE: "rule", GRID: "line", PAPER: "paper",
    COLOURS["cpu"]: "cpu", COLOURS["gpu"]: "gpu",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES, start=1)},
}  # fmt: skip
EPOCH_AXIS = "seconds per training epoch (log scale)"
ROW_INCHES = 0.46
WIDTH_INCHES = 9.6
# A phone's: its letters are nearly as large there as the page's own.
PHONE_INCHES, PHONE_POINTS, PHONE_LINES = 4.0, 9, 3
LINE_HEIGHT = 1.3
PRINT_DPI = 300
TICKS_PER_INCH = 1.6
# Where a log axis is numbered, by how many times its end is its beginning.
TICKS = ((4, (1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 7.0, 9.0)), (300, (1.0, 2.0, 5.0)), (float("inf"), (1.0,)))
# Of the height: 300 dots an inch for up to 65 rows, and a picture that programs still open for thousands.
MOST_PIXELS = 10_000
# Without these a file would differ each time it is drawn.
REPRODUCIBLE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}
STYLE = {
    "font.family": FONT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.edgecolor": EDGE,
    "grid.color": GRID,
    # A name with dollars in it is a name.
    "text.parse_math": False,
    "svg.hashsalt": "epochbench",
    "svg.fonttype": "path",
}


class Figure(NamedTuple):
    """One figure as SVG, for a wide screen and for a narrow one."""

    wide: str
    narrow: str


@contextlib.contextmanager
def themed() -> Iterator[None]:
    """Draw in the one theme that all figures share."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.05), plt.rc_context(STYLE):
        yield


def save(figure: Drawing, paths: Iterable[Path], titles: dict[str, Sequence[str]] | None = None) -> None:
    """Write a figure into each path, in the format of its suffix, the same bytes each time; then forget it.

    `titles` are shown where a pointer rests on a mark of an SVG: a text for each mark of a group, by the group's id.
    """
    _lay_out(figure)
    dots = min(PRINT_DPI, MOST_PIXELS / figure.get_figheight())
    for path in paths:
        kind = path.suffix[1:]
        figure.savefig(path, dpi=dots, metadata=REPRODUCIBLE[kind])
        if kind == "svg" and titles:
            write_text(path, with_titles(path.read_text(), titles))
    plt.close(figure)


def as_svg(figure: Drawing, *, keep: bool = False) -> str:
    """Return a figure as SVG, the same text each time, and forget it unless it is to be drawn on."""
    _lay_out(figure)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=REPRODUCIBLE["svg"])
    if not keep:
        plt.close(figure)
    return text.getvalue()


def _lay_out(figure: Drawing) -> None:
    """Compute the layout once: it is the same in every format, and would be computed anew for each."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def with_titles(svg: str, titles: dict[str, Sequence[str]]) -> str:
    """Return an SVG of matplotlib's with a title for each mark of the groups named; pixels have none."""
    for group, texts in titles.items():
        before, opening, marks = svg.partition(f'<g id="{group}">')
        svg = before + opening + _with_titles(marks, texts)
    return svg


def _with_titles(marks: str, texts: Sequence[str]) -> str:
    """Give each of the first marks its text: as many as there are texts, since what follows belongs to others."""
    told = iter(texts)
    return re.sub(r"(<use [^>]*)/>", lambda use: _titled(use[1], next(told)), marks, count=len(texts))


def _titled(use: str, text: str) -> str:
    return f"{use}><title>{escape(text)}</title></use>"


def on_page(svg: str, prefix: str) -> str:
    """Return the svg element alone, wide as its place, in the page's colours, without metadata that names addresses.

    Its ids get a prefix, since several figures share one page.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) (?:height|width)="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) (?:height|width)="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
    # In a style, and as an attribute in the patterns of hatched bars.
    colours = re.compile(f'(: |(?:fill|stroke)=")({"|".join(PROPERTIES)})')
    return colours.sub(lambda found: f"{found[1]}var(--{PROPERTIES[found[2]]})", element)


def interval_mark(axes: Axes, position: float, interval: Interval, colour: str) -> None:
    """Draw an estimate and, where it has one, its interval."""
    if interval.low is not None:
        axes.plot([interval.low, interval.high], [position] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(interval.estimate, position, marker="o", markersize=6, color=colour, markeredgecolor=PAPER, zorder=5)


def value_beside(axes: Axes, position: float, right: float, text: str) -> None:
    """Write a value beside the right end of its mark."""
    axes.annotate(
        text, (right, position), (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK, zorder=6
    )


def row_inches(names: Sequence[str], points: float) -> float:
    """Return the height of a row that keeps each name off the next, however many lines they have."""
    lines = [name.count("\n") + 1 for name in names]
    most = max((one + other for one, other in pairwise(lines)), default=0)
    return max(ROW_INCHES, points * LINE_HEIGHT / POINTS_PER_INCH * most / 2)


def phone_rows(names: Sequence[tuple[str, str]], values: Sequence[str]) -> tuple[Drawing, Axes, list[str]]:
    """Return a narrow figure, its axes with a row for each name, and the names in lines, for row_above to write.

    The values stand right of the names, which are as drawn_names() takes them.
    """
    room = max(PHONE_INCHES / 2, PHONE_INCHES * 0.94 - max(inches_of(value, PHONE_POINTS) for value in values))
    wrapped = drawn_names(names, room, PHONE_POINTS, PHONE_LINES)
    lines = max(name.count("\n") + 1 for name in wrapped)
    height = 0.65 + (0.26 + 0.15 * lines) * len(wrapped)
    figure, axes = plt.subplots(figsize=(PHONE_INCHES, height), layout="constrained")
    axes.set(yticks=[], ylim=(len(wrapped) - 0.5, -1))
    return figure, axes, wrapped


def row_above(axes: Axes, position: float, name: str, value: str, colour: str, *, bold: bool = False) -> None:
    """Write a row's name and value above its mark, at both ends of the axes: a narrow figure has no room beside it."""
    weight = "bold" if bold else "normal"
    for place, side, text, ink in ((0, "left", name, colour), (1, "right", value, INK)):
        axes.annotate(
            text, (place, position), (0, 8), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha=side, va="bottom", fontsize=PHONE_POINTS, fontweight=weight, color=ink, zorder=6,
        ).set_in_layout(False)  # fmt: skip


def plain_log_axis(axes: Axes, unit: str = "", inches: float | None = None, *, vertical: bool = False) -> None:
    """Number a log axis in plain figures, a unit behind them, and between the tens where it spans little.

    `inches` is its length where that is not the wide figure's width.
    """
    axis, (low, high) = (axes.yaxis, axes.get_ylim()) if vertical else (axes.xaxis, axes.get_xlim())
    subs = next(subs for most, subs in TICKS if high / low <= most)
    # Fewer than twelve ticks in a narrow axis: "10,000x" needs its room.
    room = max(3, round((inches or axes.get_position().width * WIDTH_INCHES) * TICKS_PER_INCH))
    axis.set_major_locator(LogLocator(subs=subs, numticks=room))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}{unit}"))
    axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="x" if vertical else "y")
    sns.despine(ax=axes, left=True)
