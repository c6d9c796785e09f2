"""What changed since an export, told on the console, in Markdown and as a page; and whether it is a regression."""

from pathlib import Path

from epochbench import wording
from epochbench.errors import BenchmarkError
from epochbench.exchange import Comparison, created_at, read_export
from epochbench.record import Record, write_text
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


def history_rows(exports: list[tuple[str, list[Record]]]) -> list[dict]:
    """Return a row of texts for each cell: its epoch time in each export, by the export's name, oldest first."""
    typical = [(name, _epoch_times(records)) for name, records in exports]
    cells = dict.fromkeys(cell for _, times in typical for cell in times)
    return [
        {"cell": cell}
        | {name: wording.interval_seconds(times[cell]) if cell in times else "" for name, times in typical}
        | {"newest / oldest": _overall([times[cell] for _, times in typical if cell in times])}
        for cell in cells
    ]


def _overall(times: list[Interval]) -> str:
    return f"{wording.significant(times[0].estimate / times[-1].estimate, 3)}x" if len(times) > 1 else ""


def _epoch_times(records: list[Record]) -> dict[str, Interval]:
    samples = {}
    for record in records:
        samples.setdefault(record.cell.cell, []).append(record.timing.epoch_seconds)
    return {cell: epoch_seconds(runs) for cell, runs in samples.items()}


def write_history(paths: list[str], folder) -> list[str]:
    """Write history.html and history.md over exports, oldest first, and return what was left out.

    Raises BenchmarkError where none of them can be read.
    """
    from epochbench.report.history import draw_history
    from epochbench.report.page import render_comparison
    from epochbench.report.text import markdown_table

    exports, left_out = [], []
    for path in paths:
        records, wrong = read_export(path)
        left_out += [f"{file.file}: {file.reason}" for file in wrong]
        exports.append((created_at(path), Path(path).stem, records))
    if not exports:
        raise BenchmarkError("compare.history is empty; name exports: make history EXPORTS='a.zip b.zip'")
    exports.sort(key=lambda export: export[0])
    named = [(f"{stem}, {created[:10]}", records) for created, stem, records in exports]
    rows, folder = history_rows(named), Path(folder)
    series = {cell: [] for cell in (row["cell"] for row in rows)}
    for position, (_, records) in enumerate(named):
        for cell, typical in _epoch_times(records).items():
            series[cell].append((position, typical))
    svg = draw_history([name for name, _ in named], series, folder / "history.svg")
    write_text(folder / "history.md", f"# History\n\n{markdown_table(rows)}\n")
    write_text(folder / "history.html", render_comparison("Epoch times over many exports", rows, svg))
    return left_out


def regressions(found: list[Comparison], threshold: float) -> list[Comparison]:
    """Return the cells that are surely slower, by more than the threshold (0.05 is 5 percent more time)."""
    return [one for one in found if one.verdict == "SLOWER" and one.ratio.estimate < 1 / (1 + threshold)]


def judge(found: list[Comparison], threshold: float) -> None:
    """Raise BenchmarkError where a cell has become slower than the threshold allows."""
    slower = regressions(found, threshold)
    if slower:
        told = "; ".join(f"{one.cell} {wording.ratio_with_interval(one.ratio)}" for one in slower)
        raise BenchmarkError(f"slower than compare.threshold {threshold:g} allows: {told}")
