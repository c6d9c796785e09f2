"""The figure: epoch time of every cell with all samples and the interval, and the speedup beside it."""

import contextlib
import textwrap

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from epochbench import wording
from epochbench.statistics import Interval

# Okabe and Ito's colours, distinct for every kind of colour vision and in grey (Okabe & Ito 2008).
COLOURS = {"cpu": "#0072B2", "gpu": "#D55E00", "published": "#6b6b6b"}
INK = "#222222"
ROW_INCHES = 0.46
WIDTH_INCHES = 9.6
PRINT_DPI = 300
GOLDEN_RATIO = 0.618034
SPREAD_ROWS = 0.3
TICKS_PER_INCH = 1.6
DOT_AREA = 10
MOST_DOTS = 2000
# Of the height: 300 dots an inch for up to 65 rows, and a picture that programs still open for thousands.
MOST_PIXELS = 10_000
# Without these a file would differ each time it is drawn.
REPRODUCIBLE = {"svg": {"Date": None}, "pdf": {"CreationDate": None}, "png": {}}


def draw_speedup(summary: dict, epochs, published: list[dict], paths) -> None:
    """Draw the figure into each path, in the format of its suffix.

    Epoch times stand on a logarithmic axis in seconds: a dot for each timed epoch, the typical time and its interval
    in front. Published results are scaled to the images of one epoch here.
    """
    cells = sorted(summary["cells"], key=lambda row: -row["epoch_seconds"]["estimate"])
    references = scaled_references(summary, published)
    with themed():
        rows = len(cells) + len(references)
        height = 1.9 + ROW_INCHES * rows
        figure, (times, ratios) = plt.subplots(
            1, 2, sharey=True, figsize=(WIDTH_INCHES, height), width_ratios=(3, 2), layout="constrained"
        )
        figure.get_layout_engine().set(wspace=0.06)
        _draw_times(times, cells, epochs, references)
        _draw_ratios(ratios, cells)
        _label_rows(times, row_labels(cells), cells, references)
        _title(figure, summary)
        save(figure, paths)


@contextlib.contextmanager
def themed():
    """Draw in the one theme that all figures share."""
    with sns.axes_style("whitegrid"), sns.plotting_context("paper", font_scale=1.05), plt.rc_context(_style()):
        yield


def save(figure, paths) -> None:
    """Write a figure into each path, in the format of its suffix, the same bytes each time; then forget it."""
    # The layout is the same in every format; it would be computed anew for each.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    dots = min(PRINT_DPI, MOST_PIXELS / figure.get_figheight())
    for path in paths:
        kind = path.suffix[1:]
        figure.savefig(path, dpi=dots, metadata=REPRODUCIBLE[kind])
    plt.close(figure)


def row_labels(cells: list[dict]) -> list[str]:
    """Return each cell's name, with its hardware behind it where the cells of its device ran on several kinds."""
    kinds = {}
    for row in cells:
        kinds.setdefault(row["device"], set()).add(row["hardware"])
    return [
        f"{row['cell']}\n{textwrap.shorten(row['hardware'], 34, placeholder=' ...')}"
        if len(kinds[row["device"]]) > 1
        else row["cell"]
        for row in cells
    ]


def scaled_references(summary: dict, published: list[dict]) -> list[dict]:
    """Return the published rows with `scaled_seconds`, their time for as many images as an epoch has here."""
    images = summary["dataset"]["train_images"]
    rows = [row | {"scaled_seconds": row["seconds"] * images / row["images"]} for row in published]
    return sorted(rows, key=lambda row: -row["scaled_seconds"])


def _style() -> dict:
    return {
        "font.family": "DejaVu Sans",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": "#bbbbbb",
        "grid.color": "#e6e6e6",
        "svg.hashsalt": "epochbench",
        "svg.fonttype": "path",
    }


def _draw_times(axes, cells, epochs, references) -> None:
    order = [row["cell"] for row in cells]
    samples = epochs[epochs["cell"].isin(order)]
    # Spread by the golden ratio rather than at random, so that the same numbers give the same picture.
    spread = (np.arange(len(samples)) * GOLDEN_RATIO % 1 - 0.5) * SPREAD_ROWS
    sns.scatterplot(
        data=samples.assign(row=samples["cell"].map(order.index) + spread),
        x="epoch_seconds",
        y="row",
        hue="device",
        palette=COLOURS,
        s=DOT_AREA,
        linewidth=0,
        alpha=0.35,
        legend=False,
        ax=axes,
        # Thousands of dots belong in the picture as pixels, not each as an object of the file.
        rasterized=len(samples) > MOST_DOTS,
    )
    for position, row in enumerate(cells):
        typical = Interval(**row["epoch_seconds"])
        interval_mark(axes, position, typical, COLOURS[row["device"]])
        value_beside(axes, position, typical.high or typical.estimate, wording.interval_seconds(typical))
    for position, row in enumerate(references, start=len(cells)):
        seconds = row["scaled_seconds"]
        axes.plot(seconds, position, marker="D", markersize=5, color=COLOURS["published"], markerfacecolor="white")
        value_beside(axes, position, seconds, wording.seconds(seconds))
    axes.set(xscale="log", xlabel="seconds per training epoch (log scale)", ylabel="")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.15, high * (high / low) ** 0.12 * 1.5)
    plain_log_axis(axes, lambda value, _: f"{value:,.10g}")


def _draw_ratios(axes, cells) -> None:
    axes.axvline(1, color="#999999", linewidth=1, zorder=1)
    for position, row in enumerate(cells):
        if row["speedup"] is None:
            axes.annotate("not comparable", (1, position), (6, 0), textcoords="offset points", va="center", fontsize=8)
            continue
        ratio = Interval(**row["speedup"])
        interval_mark(axes, position, ratio, COLOURS[row["device"]])
        text = "baseline" if row["cell"] == row["baseline"] else _ratio_label(ratio)
        value_beside(axes, position, ratio.high or ratio.estimate, text)
    values = [row["speedup"]["high"] or row["speedup"]["estimate"] for row in cells if row["speedup"]] or [1]
    lows = [row["speedup"]["low"] or row["speedup"]["estimate"] for row in cells if row["speedup"]] or [1]
    span = max(max(values) / min(lows), 2)
    axes.set(xscale="log", xlabel="times faster (log scale)")
    axes.set_xlim(min(*lows, 1) / span**0.1, max(*values, 1) * span**0.9)
    plain_log_axis(axes, lambda value, _: f"{value:,.10g}x")


def _ratio_label(ratio: Interval) -> str:
    return wording.ratio(ratio) if ratio.low is None else wording.ratio_with_interval(ratio)


def interval_mark(axes, position, interval: Interval, colour) -> None:
    """Draw an estimate and, where it has one, its interval."""
    if interval.low is not None:
        axes.plot([interval.low, interval.high], [position] * 2, color=colour, linewidth=2.2, solid_capstyle="butt")
    axes.plot(interval.estimate, position, marker="o", markersize=6, color=colour, markeredgecolor="white", zorder=5)


def value_beside(axes, position, right, text) -> None:
    """Write a value beside the right end of its mark."""
    axes.annotate(
        text, (right, position), (7, 0), textcoords="offset points", va="center", fontsize=8.5, color=INK, zorder=6
    )


def plain_log_axis(axes, written) -> None:
    """Number a log axis in plain figures, and at 2 and 5 too where it spans little."""
    low, high = axes.get_xlim()
    subs = (1.0,) if high / low > 300 else (1.0, 2.0, 5.0)
    # Fewer than twelve ticks in a narrow axis: "10,000x" needs its room.
    room = max(3, round(axes.get_position().width * WIDTH_INCHES * TICKS_PER_INCH))
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=room))
    axes.xaxis.set_major_formatter(FuncFormatter(written))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(visible=False, axis="y")
    sns.despine(ax=axes, left=True)


def _label_rows(axes, names, cells, references) -> None:
    labels = names + [f"{row['label']} (published)" for row in references]
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    colours = [COLOURS[row["device"]] for row in cells] + [COLOURS["published"]] * len(references)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=True):
        label.set_color(colour)
    if cells and references:
        axes.axhline(len(cells) - 0.5, color="#cccccc", linewidth=0.8, linestyle=(0, (4, 3)))


def _title(figure, summary) -> None:
    headline = summary["headline"]
    lines = [headline["sentence"] if headline else "Epoch times"]
    figure.suptitle("\n".join(textwrap.wrap(lines[0], 96)), x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.supxlabel("\n".join(textwrap.wrap(caption(summary), 138)), x=0.01, ha="left", fontsize=8, color="#555555")


def caption(summary: dict) -> str:
    """Return the line under the figure: the data, the hardware, what the marks are, and what must be said."""
    data = summary["dataset"]
    kind = "SYNTHETIC images" if data["synthetic"] else "images"
    hardware = "; ".join(dict.fromkeys(row["hardware"] for row in summary["cells"]))
    confidence = f"{summary['settings']['confidence']:.0%}".replace("%", " %")
    marks = f"Small dots: every timed epoch. Bars: {confidence} intervals over runs. Diamonds: published"
    scaled = ", scaled to as many images." if data["train_images"] != 50_000 else "."
    images = f"{wording.count(data['train_images'])} {kind} an epoch ({data['name']})"
    return " ".join([f"{images}, on {hardware}.", marks + scaled, *summary["notes"]])
