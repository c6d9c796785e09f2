"""The waterfall: how much of the headline's ratio is a weak CPU baseline, and how much the GPU, change by change."""

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt

from epochbench import wording
from epochbench.aggregate.summary import Rung, Summary
from epochbench.report.lettering import in_lines
from epochbench.report.ratio_tables import factor_in_words
from epochbench.report.style import (
    COLOURS,
    EPOCH_AXIS,
    PAPER,
    PHONE_INCHES,
    RULE,
    WIDTH_INCHES,
    Figure,
    as_svg,
    phone_rows,
    plain_log_axis,
    row_above,
    row_inches,
    save,
    themed,
)

LABEL_INCHES, LABEL_POINTS = 3.3, 9.2
BAR_ROWS = 0.56
AXIS = "seconds per training epoch (log scale: equal lengths are equal factors)"


def draw_waterfall(summary: Summary, paths: Iterable[Path]) -> Figure:
    """Draw each rung of the ladder as a bar from the time before it to its own, on a logarithmic axis in seconds.

    Into each path, in the format of its suffix; returned for the page, without a title.

    Equal lengths are equal factors, so that the bars add up to the headline's ratio.
    """
    rungs = summary.ladder
    labels = ["\n".join(in_lines(name, LABEL_INCHES, LABEL_POINTS)) for name in rung_names(summary)]
    with themed():
        height = 1.6 + row_inches(labels, LABEL_POINTS) * len(rungs)
        figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        for position, (before, rung) in enumerate(_steps(rungs)):
            _draw_rung(axes, position, before, rung, BAR_ROWS)
            _value_before(axes, position, min(before, rung.seconds), rung)
        axes.set_yticks(range(len(rungs)), labels, fontsize=LABEL_POINTS)
        for label, rung in zip(axes.get_yticklabels(), rungs, strict=True):
            label.set_color(COLOURS[rung.device])
        _frame(axes, rungs, 0.25)
        axes.set(ylim=(len(rungs) - 0.4, -0.6), xlabel=AXIS)
        plain_log_axis(axes)
        on_page = as_svg(figure, keep=True)
        figure.set_layout_engine("constrained")
        figure.suptitle(title(rungs), x=0.01, ha="left", fontsize=12, fontweight="bold")
        save(figure, paths)
    return Figure(on_page, _for_phones(summary))


def _for_phones(summary: Summary) -> str:
    """Return the waterfall as SVG for a narrow screen: each rung's name, time and factor above its bar."""
    rungs = summary.ladder
    with themed():
        values = [f"{wording.seconds(rung.seconds)}, {factor_in_words(rung)}" for rung in rungs]
        cells = [rung.cell for rung in rungs]
        figure, axes, names = phone_rows(list(zip(rung_names(summary), cells, strict=True)), values)
        for position, (name, value, (before, rung)) in enumerate(zip(names, values, _steps(rungs), strict=True)):
            _draw_rung(axes, position, before, rung, BAR_ROWS / 2)
            row_above(axes, position, name, value, COLOURS[rung.device])
        _frame(axes, rungs, 0.05)
        axes.set_xlabel(EPOCH_AXIS)
        plain_log_axis(axes, inches=PHONE_INCHES)
        return as_svg(figure)


def title(rungs: list[Rung]) -> str:
    """Return the ratio that the rungs multiply to, in words."""
    return f"{wording.significant(rungs[0].seconds / rungs[-1].seconds, 3)}x, one change at a time"


def rung_names(summary: Summary) -> list[str]:
    """Return all that each rung changes, and the first rung's cell in words."""
    labels = summary.labels
    return [rung.changed or labels[rung.cell] for rung in summary.ladder]


def _steps(rungs: list[Rung]) -> list[tuple[float, Rung]]:
    """Return each rung with the time before it; the first's own."""
    return [(rungs[0].seconds, rungs[0]), *((before.seconds, rung) for before, rung in pairwise(rungs))]


def _frame(axes, rungs: list[Rung], room: float) -> None:
    """Leave room for the texts left of the shortest time: a share of the whole, in factors."""
    seconds = [rung.seconds for rung in rungs]
    span = max(max(seconds) / min(seconds), 2)
    axes.set_xscale("log")
    axes.set_xlim(min(seconds) / span**room, max(seconds) * span**0.05)


def _draw_rung(axes, position: int, before: float, rung: Rung, height: float) -> None:
    colour, seconds = COLOURS[rung.device], rung.seconds
    slower = seconds > before
    axes.barh(
        position, before - seconds, left=seconds, height=height, color=colour, alpha=0.85,
        hatch="////" if slower else None, edgecolor=PAPER,
    )  # fmt: skip
    bottom = position - height / 2
    axes.plot([seconds, seconds], [bottom, bottom + 1 + height], color=RULE, linewidth=0.9, clip_on=True)


def _value_before(axes, position: int, left: float, rung: Rung) -> None:
    text = f"{wording.seconds(rung.seconds)}   {factor_in_words(rung)}"
    axes.annotate(
        text, (left, position), (-6, 0), textcoords="offset points", va="center", ha="right", fontsize=8.5, zorder=6
    )
