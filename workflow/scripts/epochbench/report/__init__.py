"""From tables to figures and pages. Nothing here knows torch, records or Snakemake."""

from pathlib import Path

import pandas as pd

from epochbench.report.figure import draw_speedup
from epochbench.report.page import Pictures, render_page
from epochbench.report.text import render_markdown
from epochbench.report.waterfall import draw_waterfall

FORMATS = ("png", "svg", "pdf")


def draw_report(summary: dict, epochs, published: list[dict], folder, samples=None) -> None:
    """Write speedup and waterfall as png, svg, pdf and csv, index.html and summary.md into a folder.

    `summary` is aggregate's summary.json, `epochs` its epochs.csv as a table, `published` the rows of published.tsv,
    `samples` the picture of some training images, where there is one. Without two rungs there is no waterfall, nor are
    an earlier one's files kept.
    """
    from epochbench.record import write_text

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw_speedup(summary, epochs, published, [folder / f"speedup.{kind}" for kind in FORMATS])
    write_text(folder / "speedup.csv", epochs.to_csv(index=False, lineterminator="\n"))
    if summary["ladder"]:
        draw_waterfall(summary, [folder / f"waterfall.{kind}" for kind in FORMATS])
        rungs = pd.json_normalize(summary["ladder"], sep="_")
        write_text(folder / "waterfall.csv", rungs.to_csv(index=False, lineterminator="\n"))
    else:
        for kind in (*FORMATS, "csv"):
            (folder / f"waterfall.{kind}").unlink(missing_ok=True)
    waterfall = (folder / "waterfall.svg").read_text() if summary["ladder"] else None
    sample_png = Path(samples).read_bytes() if samples and Path(samples).exists() else None
    pictures = Pictures((folder / "speedup.svg").read_text(), waterfall, sample_png)
    write_text(folder / "index.html", render_page(summary, published, pictures))
    write_text(folder / "summary.md", render_markdown(summary))
