"""What is sent on: the answer's figures one by one, in two lines, and as a badge."""

from collections.abc import Iterable
from typing import NamedTuple

from markupsafe import escape

from epochbench import wording
from epochbench.aggregate.answer import without_wrong
from epochbench.aggregate.labels import with_framework
from epochbench.aggregate.plain import on_one_machine, where
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.timing.frameworks import TORCH
from epochbench.unseen import visible

# Of a badge, pixels: a letter of Verdana or DejaVu Sans at 11 pixels, on average, and the room at both sides.
LETTER, MARGIN, HEIGHT = 6.6, 8, 20
# Letters of a cell's words in a badge.
MOST_LETTERS = 40
NO_GPU = "No GPU was timed."


class Ratio(NamedTuple):
    """One of the answer's ratios in words."""

    times: str  # 750x
    interval: str  # 630-890
    against: str  # the slower side in words


def question(summary: Summary) -> str:
    """Return the question that was measured, which need not be that of a GPU and a CPU."""
    leading, devices = summary.headline, sorted({row.device for row in summary.cells})
    slow, fast = (row.device for row in _compared(summary)) if leading else (devices[0], devices[-1])
    without = "" if _has_gpu(summary) else f" {NO_GPU}"
    if slow != fast:
        asked = f"this {fast.upper()} train than this {slow.upper()}"
    elif summary.settings.best:
        asked = f"this {fast.upper()} train when it is used otherwise"
    else:
        asked = f"this {fast.upper()} train at its best"
    return f"How much faster does {asked}?{without}"


def _has_gpu(summary: Summary) -> bool:
    return any(row.device == "gpu" for row in summary.cells)


def must_be_said(summary: Summary) -> list[str]:
    """Return what must stand beside the answer wherever it is sent: first what is wrong, last what is only unsharp."""
    return [*without_wrong(summary.cells), *summary.notes]


def ratios(summary: Summary) -> list[Ratio]:
    """Return the ratio over the baseline, and that over the fastest CPU cell where it is another; none without."""
    leading = summary.headline
    if leading is None:
        return []
    pairs = [(leading.speedup, f"{summary.labels[leading.baseline]}{beside_others(summary, leading.baseline)}")]
    pairs += [(leading.fair.speedup, f"the best CPU cell{_with(summary, leading.fair.cell)}")] if leading.fair else []
    return [Ratio(wording.ratio(each), wording.bounds(each), f"as fast as {slower}") for each, slower in pairs]


def _with(summary: Summary, cell: str) -> str:
    """Return the framework of one of the answer's cells in words; nothing where all of them are PyTorch's."""
    return with_framework(_rows(summary)[cell].settings, *(row.settings for row in sides(summary)))


def beside_others(summary: Summary, cell: str) -> str:
    """Return " with PyTorch" for a cell of PyTorch's beside one of another's, whose words name that already."""
    return _with(summary, cell) if _rows(summary)[cell].settings.framework == TORCH else ""


def sides(summary: Summary) -> list[CellSummary]:
    """Return the cells of the answer, slowest first; the summary needs a headline."""
    leading, rows = summary.headline, _rows(summary)
    names = [leading.baseline, *([leading.fair.cell] if leading.fair else []), leading.best]
    return sorted((rows[name] for name in names), key=lambda row: -row.epoch_seconds.estimate)


def two_lines(summary: Summary) -> list[str]:
    """Return the answer in two lines, ready to paste: what was compared, times, precision, data, code, notes."""
    first = summary.answer[0]
    code = summary.code[0].commit or summary.code[0].digest
    told = [*_times(summary), data_in_words(summary), f"epochbench {code[:12]}"]
    notes = must_be_said(summary)
    alone = [] if _has_gpu(summary) or any(NO_GPU.lower() in note.lower() for note in notes) else [NO_GPU]
    return [first, " ".join([", ".join(told) + ".", *notes, *alone])]


def data_in_words(summary: Summary) -> str:
    """Return what was trained on: "50,000 synthetic images (CIFAR-10)"."""
    data = summary.dataset
    kind = "synthetic images" if data.synthetic else "images"
    return f"{wording.count(data.train_images)} {kind} ({visible(data.name)})"


def _times(summary: Summary) -> Iterable[str]:
    """Return every ratio with its interval, and both sides' epochs."""
    if summary.headline is None:
        return []
    slow, fast = _compared(summary)
    epochs = [
        f"{wording.interval_seconds(row.epoch_seconds)} in {row.settings.precision}{_with(summary, row.cell)}"
        for row in (fast, slow)
    ]
    intervals = " and ".join(f"{ratio.times} ({ratio.interval})" for ratio in ratios(summary))
    return [intervals, " against ".join(epochs) + " an epoch"]


def render_badge(summary: Summary) -> str:
    """Return an SVG of two fields: the project, and the answer in a few words."""
    words = ("epochbench", _badge_words(summary))
    widths = [round(len(text) * LETTER) + 2 * MARGIN for text in words]
    middles = (widths[0] / 2, widths[0] + widths[1] / 2)
    texts = [
        f'<text x="{middle:g}" y="14" textLength="{width - 2 * MARGIN}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text)}</text>"
        for text, width, middle in zip(words, widths, middles, strict=True)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(widths)}" height="{HEIGHT}" role="img">',
            f"<title>{escape(': '.join(words))}</title>",
            f'<rect width="{widths[0]}" height="{HEIGHT}" fill="#444444"/>',
            f'<rect x="{widths[0]}" width="{widths[1]}" height="{HEIGHT}" fill="#0a5c8f"/>',
            '<g fill="#ffffff" text-anchor="middle" font-family="Verdana, DejaVu Sans, sans-serif" font-size="11">',
            *texts,
            "</g></svg>\n",
        ]
    )


def _badge_words(summary: Summary) -> str:
    if summary.headline is None:
        return "no speedup yet"
    slow, fast = _compared(summary)
    times = f"{wording.ratio_with_interval(summary.headline.speedup)} as fast as"
    label = f"{wording.cut(slow.label, MOST_LETTERS)}{beside_others(summary, slow.cell)}"
    slower = label if on_one_machine(slow, fast) else f"{where(slow)}{_with(summary, slow.cell)}"
    said = f"{where(fast)}{_with(summary, fast.cell)}: {times} {slower}"
    return f"{said}{', synthetic images' if summary.dataset.synthetic else ''}"


def _compared(summary: Summary) -> tuple[CellSummary, CellSummary]:
    """Return the headline's baseline and best cell."""
    rows, leading = _rows(summary), summary.headline
    return rows[leading.baseline], rows[leading.best]


def _rows(summary: Summary) -> dict[str, CellSummary]:
    return {row.cell: row for row in summary.cells}
