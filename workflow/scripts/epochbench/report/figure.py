"""The figure: epoch time of every cell with all samples and the interval, and the speedup beside it."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns

from epochbench import wording
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.report.groups import Layout, grouped
from epochbench.report.lettering import drawn_names, in_lines
from epochbench.report.references import Reference, has_the_published_work, scaled_references
from epochbench.report.style import (
    COLOURS,
    EDGE,
    EPOCH_AXIS,
    INK,
    PAPER,
    PHONE_INCHES,
    RULE,
    SOFT,
    WIDTH_INCHES,
    Figure,
    as_svg,
    interval_mark,
    phone_rows,
    plain_log_axis,
    row_above,
    row_inches,
    save,
    themed,
    value_beside,
    with_titles,
)
from epochbench.stats import Interval

GOLDEN_RATIO = 0.618034
SPREAD_ROWS = 0.3
DOT_AREA = 10
MOST_DOTS = 2000
PUBLISHED_IMAGES = 50_000
LABEL_INCHES, LABEL_POINTS, LABEL_LINES = 2.6, 9.2, 4
HARDWARE_LETTERS = 34
DOTS = "epochs"


def draw_speedup(summary: Summary, epochs: pd.DataFrame, published: list[dict], paths: Iterable[Path]) -> Figure:
    """Draw the figure into each path, in the format of its suffix, and return it for the page, without its words.

    Epoch times stand on a logarithmic axis in seconds: a dot for each timed epoch, the typical time and its interval
    in front. Published results are scaled to the images of one epoch here.
    """
    layout, references = _rows(summary, published)
    cells = layout.cells
    samples = epochs[epochs["cell"].isin([row.cell for row in cells])]
    names = row_labels(cells)
    with themed():
        height = 1.9 + row_inches(names, LABEL_POINTS) * (layout.rows + len(references))
        figure, (times, ratios) = plt.subplots(
            1, 2, sharey=True, figsize=(WIDTH_INCHES, height), width_ratios=(3, 2), layout="constrained"
        )
        figure.get_layout_engine().set(wspace=0.06)
        _draw_times(times, layout, samples, references)
        _draw_ratios(ratios, layout)
        _label_rows(times, names, layout, references)
        titles = {DOTS: _titles(cells, samples)} if len(samples) <= MOST_DOTS else {}
        on_page = with_titles(as_svg(figure, keep=True), titles)
        figure.set_layout_engine("constrained", wspace=0.06)
        _title(figure, summary, has_dots=len(samples) > 0)
        save(figure, paths, titles)
    return Figure(on_page, _for_phones(layout, references))


def _for_phones(layout: Layout, references: list[Reference]) -> str:
    """Return the figure as SVG for a narrow screen: each row's name, time and ratio above its mark, without samples."""
    rows = {position: ((name, name), None) for position, name in layout.headings.items()}
    rows |= {
        position: ((row.label, row.cell), (row.epoch_seconds, COLOURS[row.device], _time_and_ratio(row)))
        for position, row in zip(layout.positions, layout.cells, strict=True)
    }
    rows |= {
        position: ((f"{each.label} (published)", each.label), _published_mark(each))
        for position, each in enumerate(references, start=layout.rows)
    }
    ordered = [rows[position] for position in range(len(rows))]
    with themed():
        figure, axes, names = phone_rows([name for name, _ in ordered], [mark[2] for _, mark in ordered if mark])
        for position, (name, (_, mark)) in enumerate(zip(names, ordered, strict=True)):
            if mark is None:
                row_above(axes, position, name, "", INK, bold=True)
                continue
            typical, colour, text = mark
            interval_mark(axes, position, typical, colour)
            row_above(axes, position, name, text, colour)
        _separate(axes, layout, references if layout.headings else [], above=0.8)
        axes.set(xscale="log", xlabel=EPOCH_AXIS)
        plain_log_axis(axes, inches=PHONE_INCHES)
        return as_svg(figure)


def _rows(summary: Summary, published: list[dict]) -> tuple[Layout, list[Reference]]:
    """Return what has a row of its own, slowest first, the cells by framework."""
    return grouped(summary.cells), scaled_references(summary, published)


def _time_and_ratio(row: CellSummary) -> str:
    time = wording.interval_seconds(row.epoch_seconds)
    return f"{time}, {wording.ratio(row.speedup)}" if row.speedup and row.cell != row.baseline else time


def _published_mark(reference: Reference) -> tuple[Interval, str, str]:
    seconds = reference.scaled_seconds
    return Interval(None, seconds, None), COLOURS["published"], wording.seconds(seconds)


def _titles(cells: list[CellSummary], samples: pd.DataFrame) -> list[str]:
    """Return what is shown where a pointer rests on a timed epoch's dot."""
    labels = {row.cell: row.label for row in cells}
    return [
        f"{labels[one.cell]}: run {one.run}, epoch {one.epoch}, {wording.seconds(one.epoch_seconds)}"
        for one in samples.itertuples()
    ]


def row_labels(cells: list[CellSummary]) -> list[str]:
    """Return each cell in words, with its hardware below where the cells of its device ran on several kinds."""
    kinds = {}
    for row in cells:
        kinds.setdefault(row.device, set()).add(row.hardware)
    names = drawn_names([(row.label, row.cell) for row in cells], LABEL_INCHES, LABEL_POINTS, LABEL_LINES)
    return [
        f"{name}\n{wording.cut(row.hardware, HARDWARE_LETTERS)}" if len(kinds[row.device]) > 1 else name
        for name, row in zip(names, cells, strict=True)
    ]


def _draw_times(axes, layout: Layout, samples: pd.DataFrame, references: list[Reference]) -> None:
    if len(samples):
        places = {row.cell: position for position, row in zip(layout.positions, layout.cells, strict=True)}
        _draw_epochs(axes, places, samples)
    for position, row in zip(layout.positions, layout.cells, strict=True):
        typical = row.epoch_seconds
        interval_mark(axes, position, typical, COLOURS[row.device])
        value_beside(axes, position, typical.high or typical.estimate, wording.interval_seconds(typical))
    for position, reference in enumerate(references, start=layout.rows):
        seconds = reference.scaled_seconds
        axes.plot(seconds, position, marker="D", markersize=5, color=COLOURS["published"], markerfacecolor=PAPER)
        value_beside(axes, position, seconds, wording.seconds(seconds))
    axes.set(xscale="log", xlabel=EPOCH_AXIS, ylabel="")
    low, high = axes.get_xlim()
    axes.set_xlim(low / 1.15, high * (high / low) ** 0.12 * 1.5)
    plain_log_axis(axes)


def _draw_epochs(axes, places: dict[str, int], samples: pd.DataFrame) -> None:
    """Draw a dot for each timed epoch at its cell's place."""
    # Spread by the golden ratio rather than at random, so that the same numbers give the same picture.
    spread = (np.arange(len(samples)) * GOLDEN_RATIO % 1 - 0.5) * SPREAD_ROWS
    sns.scatterplot(
        data=samples.assign(row=samples["cell"].map(places) + spread),
        x="epoch_seconds",
        y="row",
        hue="device",
        palette=COLOURS,
        s=DOT_AREA,
        linewidth=0,
        alpha=0.35,
        legend=False,
        ax=axes,
        gid=DOTS,
        # Thousands of dots belong in the picture as pixels, not each as an object of the file.
        rasterized=len(samples) > MOST_DOTS,
    )


def _draw_ratios(axes, layout: Layout) -> None:
    axes.axvline(1, color=RULE, linewidth=1, zorder=1)
    for position, row in zip(layout.positions, layout.cells, strict=True):
        if row.speedup is None:
            axes.annotate("not comparable", (1, position), (6, 0), textcoords="offset points", va="center", fontsize=8)
            continue
        interval_mark(axes, position, row.speedup, COLOURS[row.device])
        text = "baseline" if row.cell == row.baseline else _ratio_label(row.speedup)
        value_beside(axes, position, row.speedup.high or row.speedup.estimate, text)
    ratios = [row.speedup for row in layout.cells if row.speedup] or [Interval(1, 1, 1)]
    highs, lows = [each.high or each.estimate for each in ratios], [each.low or each.estimate for each in ratios]
    span = max(max(highs) / min(lows), 2)
    axes.set(xscale="log", xlabel="times as fast (log scale)")
    axes.set_xlim(min(*lows, 1) / span**0.1, max(*highs, 1) * span**0.9)
    plain_log_axis(axes, "x")


def _ratio_label(ratio: Interval) -> str:
    return wording.ratio(ratio) if ratio.low is None else wording.ratio_with_interval(ratio)


def _label_rows(axes, names: list[str], layout: Layout, references: list[Reference]) -> None:
    """Name every row in the colour of its device; a framework's name stands in bold above its rows."""
    last = layout.rows + len(references)
    labels = names + [f"{reference.label} (published)" for reference in references] + list(layout.headings.values())
    places = [*layout.positions, *range(layout.rows, last), *layout.headings]
    axes.set_yticks(places, labels, fontsize=LABEL_POINTS)
    axes.set_ylim(last - 0.4, -0.6)
    colours = [COLOURS[row.device] for row in layout.cells] + [COLOURS["published"]] * len(references)
    for label, colour in zip(axes.get_yticklabels(), [*colours, *[None] * len(layout.headings)], strict=True):
        label.set(**({"color": colour} if colour else {"fontweight": "bold"}))
    _separate(axes, layout, references, above=0.5)


def _separate(axes, layout: Layout, references: list[Reference], above: float) -> None:
    """Draw a line above each framework but the first, and above what others published: so many rows above its place."""
    for place in [*filter(None, layout.headings), *([layout.rows] if references else [])]:
        axes.axhline(place - above, color=EDGE, linewidth=0.8, linestyle=(0, (4, 3)))


def _title(figure, summary: Summary, *, has_dots: bool) -> None:
    title = summary.headline.plain if summary.headline else "Epoch times"
    figure.suptitle(
        _across(title, 12, bold=True),
        x=0.01,
        ha="left",
        fontsize=12,
        fontweight="bold",
    )
    figure.supxlabel(_across(caption(summary, has_dots=has_dots), 8), x=0.01, ha="left", fontsize=8, color=SOFT)


def _across(text: str, points: float, *, bold: bool = False) -> str:
    return "\n".join(in_lines(text, WIDTH_INCHES * 0.97, points, bold=bold))


def caption(summary: Summary, *, has_dots: bool = True) -> str:
    """Return the line under the figure: the data, the hardware, what the marks are, and what must be said."""
    data = summary.dataset
    kind = "SYNTHETIC images" if data.synthetic else "images"
    hardware = "; ".join(dict.fromkeys(row.hardware for row in summary.cells))
    images = f"{wording.count(data.train_images)} {kind} an epoch ({data.name})"
    return " ".join([f"{images}, on {hardware}.", marks_in_words(summary, has_dots=has_dots), *summary.notes])


def marks_in_words(summary: Summary, *, has_dots: bool = True) -> str:
    """Return what the figure's marks are."""
    bars = (
        f" Bars: {wording.percent(summary.settings.confidence)} intervals over runs." if summary.has_intervals else ""
    )
    scaled = ", scaled to as many images." if summary.dataset.train_images != PUBLISHED_IMAGES else "."
    told = f"{'Small dots: every timed epoch.' if has_dots else ''}{bars}".strip()
    return f"{told} Diamonds: published{scaled}".strip() if has_the_published_work(summary) else told
