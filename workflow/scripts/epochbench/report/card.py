"""The card: the answer as a picture of the size that messengers and social networks show, 1200 x 630 pixels."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from epochbench import wording
from epochbench.aggregate.summary import Summary
from epochbench.report.lettering import in_lines, inches_of
from epochbench.report.share import Ratio, beside_others, data_in_words, must_be_said, question, ratios, sides
from epochbench.report.style import COLOURS, INK, REPRODUCIBLE, SOFT, themed

INCHES, DOTS = (12, 6.3), 100
LEFT, MIDDLE = 0.045, 0.5
WIDTH = INCHES[0] * (1 - 2 * LEFT)
# The sentence's sizes in points, the largest that needs no more lines than its own.
SENTENCE = {18: 2, 16: 3, 14: 4}
SMALL, NOTE, NOTE_LINES, MOST_LINES = 12.5, 11, 3, 12


def draw_card(summary: Summary, paths: Iterable[Path]) -> None:
    """Draw the card into each path, in the format of its suffix."""
    with themed():
        figure = card(summary)
        for path in paths:
            figure.savefig(path, dpi=DOTS, metadata=REPRODUCIBLE[path.suffix[1:]])
        plt.close(figure)


def card(summary: Summary) -> Figure:
    """Return the sentence, its ratios, the epoch of each side as a bar of its length, and what must be said."""
    figure = plt.figure(figsize=INCHES, dpi=DOTS)
    figure.text(LEFT, 0.92, f"epochbench: {question(summary)}", fontsize=14, color=SOFT)
    for place, ratio in zip((LEFT, MIDDLE), ratios(summary), strict=False):
        figure.text(place, 0.75, ratio.times, fontsize=56, fontweight="bold")
        figure.text(place, 0.685, _against(ratio), fontsize=SMALL, color=SOFT)
    size, lines = _fitted(summary.answer[0])
    figure.text(LEFT, 0.63, "\n".join(lines), fontsize=size, fontweight="bold", va="top", linespacing=1.3)
    if summary.headline:
        _draw_bars(figure.add_axes((LEFT, 0.155, 1 - 2 * LEFT, 0.275)), summary)
    notes = in_lines(_footer(summary), WIDTH, NOTE, NOTE_LINES if summary.headline else MOST_LINES)
    figure.text(LEFT, 0.03, "\n".join(notes), fontsize=NOTE, color=SOFT, va="bottom", linespacing=1.3)
    return figure


def _against(ratio: Ratio) -> str:
    """Return what a ratio is over, cut where it runs on, and its interval, which is not."""
    interval = f" ({ratio.interval})"
    room = INCHES[0] * (MIDDLE - LEFT - 0.01) - inches_of(interval, SMALL)
    return f"{in_lines(ratio.against, room, SMALL, 1)[0]}{interval}"


def _fitted(sentence: str) -> tuple[int, list[str]]:
    """Return the size of the sentence's letters, and its lines."""
    for size, most in SENTENCE.items():
        lines = in_lines(sentence, WIDTH, size, bold=True)
        if len(lines) <= most:
            return size, lines
    return size, in_lines(sentence, WIDTH, size, most, bold=True)


def _draw_bars(axes, summary: Summary) -> None:
    """Draw each side's epoch on one linear axis from 0: as long as it takes."""
    rows = sides(summary)
    longest = max(row.epoch_seconds.estimate for row in rows)
    for position, row in enumerate(rows):
        seconds = row.epoch_seconds.estimate
        axes.barh(position, seconds, height=0.36, color=COLOURS[row.device])
        value = f": {wording.interval_seconds(row.epoch_seconds)} in {row.settings.precision}"
        value += beside_others(summary, row.cell)
        label = in_lines(row.label, WIDTH - inches_of(value, SMALL), SMALL, 1)[0]
        axes.text(0, position - 0.28, label + value, fontsize=SMALL, color=INK, va="bottom")
    axes.set(xlim=(0, longest), ylim=(len(rows) - 0.7, -0.85))
    axes.axis("off")


def _footer(summary: Summary) -> str:
    """Return the data and what must be said."""
    confidence = "one run, no intervals"
    if summary.has_intervals:
        confidence = f"{wording.percent(summary.settings.confidence)} intervals over runs"
    return " ".join([f"One epoch of {data_in_words(summary)}; {confidence}.", *must_be_said(summary)])
