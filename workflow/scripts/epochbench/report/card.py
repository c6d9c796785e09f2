"""The card: the answer as a picture of the size that messengers and social networks show, 1200 x 630 pixels."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt

from epochbench import wording
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.report.share import data_in_words, ratios, sides
from epochbench.report.style import COLOURS, INK, REPRODUCIBLE, SOFT, themed

INCHES, DOTS = (12, 6.3), 100
LEFT, MIDDLE = 0.045, 0.5
LINE = 78
QUESTION = "How much faster does this GPU train than this CPU?"


def draw_card(summary: Summary, paths: Iterable[Path]) -> None:
    """Draw the sentence, its ratios, and the epoch of each side as a bar of its length, into each path."""
    with themed():
        figure = plt.figure(figsize=INCHES)
        figure.text(LEFT, 0.915, f"epochbench: {QUESTION}", fontsize=14, color=SOFT)
        for place, ratio in zip((LEFT, MIDDLE), ratios(summary), strict=False):
            figure.text(place, 0.735, ratio.times, fontsize=56, fontweight="bold")
            figure.text(
                place, 0.665, textwrap.shorten(f"{ratio.against} ({ratio.interval})", 66), fontsize=12.5, color=SOFT
            )
        sentence = "\n".join(textwrap.wrap(summary.answer[0], LINE))
        figure.text(LEFT, 0.60, sentence, fontsize=18, fontweight="bold", va="top", linespacing=1.3)
        if summary.headline:
            _draw_bars(figure.add_axes((LEFT, 0.11, 1 - 2 * LEFT, 0.29)), sides(summary))
        figure.text(LEFT, 0.035, _footer(summary), fontsize=11.5, color=SOFT)
        for path in paths:
            figure.savefig(path, dpi=DOTS, metadata=REPRODUCIBLE[path.suffix[1:]])
        plt.close(figure)


def _draw_bars(axes, rows: list[CellSummary]) -> None:
    """Draw each side's epoch on one linear axis from 0: as long as it takes."""
    longest = max(row.epoch_seconds.estimate for row in rows)
    for position, row in enumerate(rows):
        seconds = row.epoch_seconds.estimate
        axes.barh(position, seconds, height=0.36, color=COLOURS[row.device])
        text = f"{row.label}: {wording.interval_seconds(row.epoch_seconds)} in {row.settings.precision}"
        axes.text(0, position - 0.28, text, fontsize=12.5, color=INK, va="bottom")
    axes.set(xlim=(0, longest), ylim=(len(rows) - 0.7, -0.85))
    axes.axis("off")


def _footer(summary: Summary) -> str:
    """Return the data and the first of what must be said, in one line."""
    confidence = (
        f"{wording.percent(summary.settings.confidence)} intervals over runs"
        if summary.has_intervals
        else ("one run, no intervals")
    )
    return textwrap.shorten(
        f"One epoch of {data_in_words(summary)}; {confidence}. {' '.join(summary.notes)}", 128, placeholder=" …"
    )
