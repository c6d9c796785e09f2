"""The pages over several exports: what changed since one, and how the cells went over many."""

from pathlib import Path

from epochbench import wording
from epochbench.aggregate.compare import Comparison
from epochbench.aggregate.history import History, Series
from epochbench.aggregate.outcome import Outcome
from epochbench.documents import to_dict
from epochbench.files import write_json, write_text
from epochbench.report.changes import draw_changes
from epochbench.report.history import draw_history, drawn_series
from epochbench.report.markdown import markdown_table
from epochbench.report.page import ShortPage, render_short_page

HOW_TO_READ_CHANGES = (
    "Cell by cell, how many times as fast an epoch is now, with its interval; above 1x is faster. The verdicts are "
    "corrected for the number of cells, so that one may be ambiguous although its interval, taken alone, is not. The "
    "slowdown is the smallest that would be found 8 times in 10."
)
HOW_TO_READ_HISTORY = (
    "A line for each cell on one machine and one data set: its typical epoch time in each export. Only times of the "
    "same machine, data and settings are divided by each other. The table has every number, and says what else changed."
)
HEADER = ("cell", "verdict", "now / then", "slowdown it would find", "note")


def render_console(comparisons: list[Comparison], outcome: Outcome, base: str | Path) -> list[str]:
    """Return the comparison with an export as lines of aligned text; above 1x it is faster now."""
    rows = [HEADER, *[tuple(row.values()) for row in comparison_rows(comparisons)]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"Against {Path(base).name}, above 1x is faster now:", *lines, *remarks(comparisons, outcome)]


def remarks(comparisons: list[Comparison], outcome: Outcome) -> list[str]:
    """Return what came of a comparison, and what it could have found, in sentences."""
    return [line for line in (f"Outcome: {outcome.sentence}.", _sensitivity(comparisons)) if line]


def _sensitivity(comparisons: list[Comparison]) -> str:
    """Return the sentence on the smallest slowdowns that would have been found; empty where there is none to find."""
    ranked = sorted((one for one in comparisons if one.smallest_slowdown is not None), key=_slowdown)
    blind = [one.cell for one in comparisons if one.ratio and one.ratio.low is None]
    told = f"No slowdown would be found in {', '.join(blind)}: one side has a single run." if blind else ""
    if not ranked:
        return told
    steadiest, last = ranked[0], ranked[-1]
    others = "" if last is steadiest else f", or of {_percent(last)} in {last.cell}, the least steady"
    found = f"A slowdown of {_percent(steadiest)} in {steadiest.cell}, the steadiest cell{others}"
    return f"{found}, would be found 8 times in 10. {told}".strip()


def _slowdown(one: Comparison) -> float:
    return one.smallest_slowdown


def _percent(one: Comparison) -> str:
    return f"{wording.significant(one.smallest_slowdown * 100, 2)} %"


def comparison_rows(comparisons: list[Comparison]) -> list[dict[str, str]]:
    """Return a row of texts for each cell, its keys HEADER."""
    return [dict(zip(HEADER, _texts(one), strict=True)) for one in comparisons]


def _texts(one: Comparison) -> tuple[str, ...]:
    ratio = wording.ratio_with_interval(one.ratio) if one.ratio else "none"
    return one.cell, one.verdict, ratio, "none" if one.smallest_slowdown is None else _percent(one), one.note


def write_comparison(comparisons: list[Comparison], outcome: Outcome, base: str | Path, folder: str | Path) -> None:
    """Write comparison.json for programs, comparison.md, ready to paste, and comparison.html, a page of its own.

    The JSON has the base's name, the outcome's word, status and sentence, and the fields of each cell's Comparison.
    """
    folder, rows, title = Path(folder), comparison_rows(comparisons), f"Against {Path(base).name}"
    said = remarks(comparisons, outcome)
    told = {"base": Path(base).name, "outcome": outcome.word, "status": outcome.status, "sentence": outcome.sentence}
    write_json(folder / "comparison.json", told | {"cells": [to_dict(one) for one in comparisons]})
    write_text(
        folder / "comparison.md",
        f"# {title}\n\nAbove 1x is faster now.\n\n{markdown_table(rows)}\n\n" + "\n\n".join(said) + "\n",
    )
    page = ShortPage(
        title=title,
        remarks=said,
        figure=draw_changes(comparisons),
        alternative="How many times as fast each cell is now, with its interval; the table below has every number.",
        explanation=HOW_TO_READ_CHANGES,
        rows=rows,
        words=[one.label for one in comparisons],
    )
    write_text(folder / "comparison.html", render_short_page(page))


def write_history(history: History, folder: str | Path) -> None:
    """Write history.svg, history.md and history.html."""
    folder, rows = Path(folder), history_rows(history)
    folder.mkdir(parents=True, exist_ok=True)
    figure = draw_history(history, folder / "history.svg")
    write_text(folder / "history.md", f"# History\n\n{markdown_table(rows)}\n")
    page = ShortPage(
        title="Epoch times over many exports",
        remarks=[*_without_line(history), *(f"Left out: {line}." for line in history.left_out)],
        figure=figure,
        alternative="The epoch time of every cell in every export, oldest first; the table below has every number.",
        explanation=HOW_TO_READ_HISTORY,
        rows=rows,
        words=[one.label for one in history.series],
    )
    write_text(folder / "history.html", render_short_page(page))


def _without_line(history: History) -> list[str]:
    """Return in words how many series have no line in the figure; nothing where all have one."""
    count = len(history.series) - len(drawn_series(history))
    return (
        [f"{count} of {len(history.series)} lines would have a single point; they stand in the table alone."]
        if count
        else []
    )


def history_rows(history: History) -> list[dict[str, str]]:
    """Return a row of texts for each series: its epoch time in each export, by the export's name, oldest first."""
    return [_history_row(one, history.exports) for one in history.series]


def _history_row(series: Series, exports: list[str]) -> dict[str, str]:
    times = {exports[place]: wording.interval_seconds(typical) for place, typical in series.points}
    return {
        "cell": series.cell,
        "machine": series.machine,
        "data": series.data,
        **dict.fromkeys(exports, ""),
        **times,
        "newest / oldest": wording.ratio_with_interval(series.overall) if series.overall else "",
        "note": ", ".join(series.notes),
    }
