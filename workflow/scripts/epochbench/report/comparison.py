"""The pages over several exports: what changed since one, and how the cells went over many."""

from pathlib import Path

from epochbench import wording
from epochbench.aggregate.compare import Comparison
from epochbench.aggregate.history import History
from epochbench.files import write_text
from epochbench.report.history import draw_history
from epochbench.report.markdown import markdown_table
from epochbench.report.page import render_comparison
from epochbench.stats import Interval

HEADER = ("cell", "verdict", "now / then", "note")


def render_console(comparisons: list[Comparison], base: str | Path) -> list[str]:
    """Return the comparison with an export as lines of aligned text; above 1x it is faster now."""
    rows = [HEADER, *[tuple(row.values()) for row in comparison_rows(comparisons)]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"Against {Path(base).name}, above 1x is faster now:", *lines]


def comparison_rows(comparisons: list[Comparison]) -> list[dict[str, str]]:
    """Return a row of texts for each cell, its keys HEADER."""
    texts = [
        (one.cell, one.verdict, wording.ratio_with_interval(one.ratio) if one.ratio else "none", one.note)
        for one in comparisons
    ]
    return [dict(zip(HEADER, row, strict=True)) for row in texts]


def write_comparison(comparisons: list[Comparison], base: str | Path, folder: str | Path) -> None:
    """Write comparison.md, ready to paste, and comparison.html, a page of its own."""
    folder, rows, title = Path(folder), comparison_rows(comparisons), f"Against {Path(base).name}"
    write_text(folder / "comparison.md", f"# {title}\n\nAbove 1x is faster now.\n\n{markdown_table(rows)}\n")
    write_text(folder / "comparison.html", render_comparison(title, rows))


def write_history(history: History, folder: str | Path) -> None:
    """Write history.svg, history.md and history.html."""
    folder, rows = Path(folder), history_rows(history)
    svg = draw_history(history, folder / "history.svg")
    write_text(folder / "history.md", f"# History\n\n{markdown_table(rows)}\n")
    write_text(folder / "history.html", render_comparison("Epoch times over many exports", rows, svg))


def history_rows(history: History) -> list[dict[str, str]]:
    """Return a row of texts for each cell: its epoch time in each export, by the export's name, oldest first."""
    rows = []
    for cell, points in history.series.items():
        times = {history.exports[place]: wording.interval_seconds(typical) for place, typical in points}
        overall = {"newest / oldest": _overall([typical for _, typical in points])}
        rows.append({"cell": cell} | dict.fromkeys(history.exports, "") | times | overall)
    return rows


def _overall(times: list[Interval]) -> str:
    return f"{wording.significant(times[0].estimate / times[-1].estimate, 3)}x" if len(times) > 1 else ""
