"""The waterfall: how much of the headline's ratio is a weak CPU baseline, and how much the GPU, change by change."""

import textwrap
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt

from epochbench import wording
from epochbench.aggregate.summary import Rung
from epochbench.report.ratio_tables import factor_in_words
from epochbench.report.style import COLOURS, ROW_INCHES, WIDTH_INCHES, plain_log_axis, save, themed

LABEL_WIDTH = 50
LINE_INCHES = 0.17


def draw_waterfall(rungs: list[Rung], paths: Iterable[Path]) -> None:
    """Draw each rung of the ladder as a bar from the time before it to its own, on a logarithmic axis in seconds.

    Equal lengths are equal factors, so that the bars add up to the headline's ratio.
    """
    labels = [rung_label(rung) for rung in rungs]
    with themed():
        height = 1.6 + _row_inches(labels) * len(rungs)
        figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        before = rungs[0].seconds
        for position, rung in enumerate(rungs):
            _draw_rung(axes, position, before, rung)
            before = rung.seconds
        axes.set_yticks(range(len(rungs)), labels)
        axes.set_ylim(len(rungs) - 0.4, -0.6)
        for label, rung in zip(axes.get_yticklabels(), rungs, strict=True):
            label.set_color(COLOURS[rung.device])
        axes.set(xscale="log", xlabel="seconds per training epoch (log scale: equal lengths are equal factors)")
        seconds = [rung.seconds for rung in rungs]
        span = max(max(seconds) / min(seconds), 2)
        axes.set_xlim(min(seconds) / span**0.25, max(seconds) * span**0.05)
        plain_log_axis(axes)
        figure.suptitle(title(rungs), x=0.01, ha="left", fontsize=12, fontweight="bold")
        save(figure, paths)


def title(rungs: list[Rung]) -> str:
    """Return the ratio that the rungs multiply to, in words."""
    ratio = wording.significant(rungs[0].seconds / rungs[-1].seconds, 3)
    return f"From {rungs[0].cell} to {rungs[-1].cell}: {ratio}x, one change at a time"


def _row_inches(labels: list[str]) -> float:
    """Return the height of a row that keeps each label off the next, however many lines they have."""
    lines = [label.count("\n") + 1 for label in labels]
    return max(ROW_INCHES, LINE_INCHES * max(one + other for one, other in pairwise(lines)) / 2)


def rung_label(rung: Rung) -> str:
    """Return all that a rung changes and its name in so many lines, or the first rung's name."""
    label = rung.cell if rung.changed is None else f"{rung.changed} ({rung.cell})"
    return "\n".join(textwrap.wrap(label, LABEL_WIDTH, break_long_words=False, break_on_hyphens=False))


def _draw_rung(axes, position: int, before: float, rung: Rung) -> None:
    colour, seconds = COLOURS[rung.device], rung.seconds
    slower = seconds > before
    axes.barh(
        position, before - seconds, left=seconds, height=0.56, color=colour, alpha=0.85,
        hatch="////" if slower else None, edgecolor="white",
    )  # fmt: skip
    axes.plot([seconds, seconds], [position - 0.28, position + 1.28], color="#999999", linewidth=0.9, clip_on=True)
    text = f"{wording.seconds(seconds)}   {factor_in_words(rung)}"
    left = min(seconds, before)
    axes.annotate(
        text, (left, position), (-6, 0), textcoords="offset points", va="center", ha="right", fontsize=8.5, zorder=6
    )
