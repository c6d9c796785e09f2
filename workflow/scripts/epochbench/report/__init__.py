"""From tables to figures and pages. Nothing here knows torch, records or Snakemake."""

from pathlib import Path

from epochbench.report.figure import draw_speedup
from epochbench.report.page import render_page
from epochbench.report.text import render_markdown

FORMATS = ("png", "svg", "pdf")


def draw_report(summary: dict, epochs, published: list[dict], folder) -> None:
    """Write speedup.{png,svg,pdf}, index.html and summary.md into a folder.

    `summary` is aggregate's summary.json, `epochs` its epochs.csv as a table, `published` the rows of published.tsv.
    """
    from epochbench.record import write_text

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw_speedup(summary, epochs, published, [folder / f"speedup.{kind}" for kind in FORMATS])
    write_text(folder / "index.html", render_page(summary, published, (folder / "speedup.svg").read_text()))
    write_text(folder / "summary.md", render_markdown(summary))
