"""The waterfall: how much of the ratio is a weak CPU baseline, and how much the GPU, one change at a time."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt

from epochbench import wording
from epochbench.aggregate.summary import Rung
from epochbench.report.ratio_tables import factor_in_words
from epochbench.report.style import COLOURS, ROW_INCHES, WIDTH_INCHES, plain_log_axis, save, themed


def draw_waterfall(rungs: list[Rung], paths: Iterable[Path]) -> None:
    """Draw each rung of the ladder as a bar from the time before it to its own, on a logarithmic axis in seconds.

    Equal lengths are equal factors, so that the bars add up to the whole ratio.
    """
    with themed():
        height = 1.2 + ROW_INCHES * len(rungs)
        figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
        before = rungs[0].seconds
        for position, rung in enumerate(rungs):
            _draw_rung(axes, position, before, rung)
            before = rung.seconds
        axes.set_yticks(range(len(rungs)), [rung_label(rung) for rung in rungs])
        axes.set_ylim(len(rungs) - 0.4, -0.6)
        for label, rung in zip(axes.get_yticklabels(), rungs, strict=True):
            label.set_color(COLOURS[rung.device])
        axes.set(xscale="log", xlabel="seconds per training epoch (log scale: equal lengths are equal factors)")
        seconds = [rung.seconds for rung in rungs]
        span = max(max(seconds) / min(seconds), 2)
        axes.set_xlim(min(seconds) / span**0.25, max(seconds) * span**0.05)
        plain_log_axis(axes)
        save(figure, paths)


def rung_label(rung: Rung) -> str:
    """Return what a rung changes, or the first rung's name."""
    return rung.cell if rung.changed is None else f"{rung.changed}  ({rung.cell})"


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
