"""What changed since an export, told on the console, in Markdown and as a page; and whether it is a regression."""

from pathlib import Path

from epochbench import wording
from epochbench.errors import BenchmarkError
from epochbench.exchange import Comparison, read_export
from epochbench.record import Record, runs_by_cell, write_text
from epochbench.statistics import Interval, epoch_seconds

HEADER = ("cell", "verdict", "now / then", "note")


def comparison_rows(found: list[Comparison]) -> list[tuple[str, str, str, str]]:
    """Return a row of texts for each cell, in the order of HEADER; above 1x it is faster now."""
    return [
        (one.cell, one.verdict, wording.ratio_with_interval(one.ratio) if one.ratio else "none", one.note)
        for one in found
    ]


def render_console(found: list[Comparison], base) -> list[str]:
    """Return the table as lines of aligned text."""
    rows = [HEADER, *comparison_rows(found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [f"Against {Path(base).name}, above 1x is faster now:", *lines]


def write_comparison(found: list[Comparison], base, folder) -> None:
    """Write comparison.md, ready to paste, and comparison.html, a page of its own."""
    from epochbench.report.page import render_comparison
    from epochbench.report.text import markdown_table

    folder = Path(folder)
    rows = [dict(zip(HEADER, row, strict=True)) for row in comparison_rows(found)]
    title = f"Against {Path(base).name}"
    write_text(folder / "comparison.md", f"# {title}\n\nAbove 1x is faster now.\n\n{markdown_table(rows)}\n")
    write_text(folder / "comparison.html", render_comparison(title, rows))


def history_rows(names: list[str], series: dict[str, list[tuple[int, Interval]]]) -> list[dict]:
    """Return a row of texts for each cell: its epoch time in each export, by the export's name, oldest first.

    `series` has the points of each cell: the export's place among the names, and the epoch time there.
    """
    rows = []
    for cell, points in series.items():
        told = {names[place]: wording.interval_seconds(typical) for place, typical in points}
        overall = {"newest / oldest": _overall([typical for _, typical in points])}
        rows.append({"cell": cell} | dict.fromkeys(names, "") | told | overall)
    return rows


def _series(exports: list[list[Record]]) -> dict[str, list[tuple[int, Interval]]]:
    series = {}
    for place, records in enumerate(exports):
        for cell, typical in _epoch_times(records).items():
            series.setdefault(cell, []).append((place, typical))
    return series


def _overall(times: list[Interval]) -> str:
    return f"{wording.significant(times[0].estimate / times[-1].estimate, 3)}x" if len(times) > 1 else ""


def _epoch_times(records: list[Record]) -> dict[str, Interval]:
    cells = runs_by_cell(records)
    return {cell: epoch_seconds([run.timing.epoch_seconds for run in runs]) for cell, runs in cells.items()}


def write_history(paths: list[str], folder) -> list[str]:
    """Write history.html and history.md over exports, oldest first, and return what was left out.

    Raises BenchmarkError where none of them can be read.
    """
    from epochbench.report.history import draw_history
    from epochbench.report.page import render_comparison
    from epochbench.report.text import markdown_table

    if not paths:
        raise BenchmarkError("compare.history is empty; name exports: make history EXPORTS='a.zip b.zip'")
    read = [(Path(path).stem, read_export(path)) for path in paths]
    exports = sorted(read, key=lambda found: found[1].created_at)
    names = [f"{stem}, {export.created_at[:10]}" for stem, export in exports]
    series = _series([export.records for _, export in exports])
    rows, folder = history_rows(names, series), Path(folder)
    svg = draw_history(names, series, folder / "history.svg")
    write_text(folder / "history.md", f"# History\n\n{markdown_table(rows)}\n")
    write_text(folder / "history.html", render_comparison("Epoch times over many exports", rows, svg))
    return [f"{file.file}: {file.reason}" for _, export in exports for file in export.left_out]


def regressions(found: list[Comparison], threshold: float) -> list[Comparison]:
    """Return the cells that are surely slower, by more than the threshold (0.05 is 5 percent more time)."""
    return [one for one in found if one.verdict == "SLOWER" and one.ratio.estimate < 1 / (1 + threshold)]


def judge(found: list[Comparison], threshold: float) -> None:
    """Raise BenchmarkError where a cell has become slower than the threshold allows."""
    slower = regressions(found, threshold)
    if slower:
        told = "; ".join(f"{one.cell} {wording.ratio_with_interval(one.ratio)}" for one in slower)
        raise BenchmarkError(f"slower than compare.threshold {threshold:g} allows: {told}")
