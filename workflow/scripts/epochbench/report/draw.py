"""The files of results/report: both figures, the page, the summary in Markdown, and what to send on."""

from pathlib import Path

import pandas as pd

from epochbench.aggregate.summary import Summary
from epochbench.documents import to_dict
from epochbench.files import write_text
from epochbench.report.card import draw_card
from epochbench.report.figure import draw_speedup
from epochbench.report.markdown import render_markdown
from epochbench.report.page import Pictures, render_page
from epochbench.report.share import render_badge, two_lines
from epochbench.report.style import Figure
from epochbench.report.waterfall import draw_waterfall

FORMATS = ("png", "svg", "pdf")


def draw_page(
    summary: Summary,
    epochs: pd.DataFrame,
    published: list[dict],
    folder: str | Path,
    samples: str | Path | None = None,
) -> None:
    """Write speedup and waterfall as png, svg, pdf and csv, index.html, summary.md and what to send on into a folder.

    `epochs` is aggregate's epochs.csv as a table, `published` the rows of published.tsv, `samples` the picture of some
    training images, where there is one. Without two rungs there is no waterfall, nor are an earlier one's files kept.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    speedup = draw_speedup(summary, epochs, published, [folder / f"speedup.{kind}" for kind in FORMATS])
    write_text(folder / "speedup.csv", epochs.to_csv(index=False, lineterminator="\n"))
    pictures = Pictures(
        speedup=speedup,
        waterfall=_write_waterfall(summary, folder),
        samples_png=Path(samples).read_bytes() if samples and Path(samples).exists() else None,
    )
    write_text(folder / "index.html", render_page(summary, published, pictures))
    write_text(folder / "summary.md", render_markdown(summary))
    write_text(folder / "card.txt", "\n".join([*two_lines(summary), ""]))
    write_text(folder / "badge.svg", render_badge(summary))
    draw_card(summary, [folder / "card.png", folder / "card.svg"])


def _write_waterfall(summary: Summary, folder: Path) -> Figure | None:
    """Write the waterfall's files and return it for the page; without a ladder remove them and return None."""
    if not summary.ladder:
        for kind in (*FORMATS, "csv"):
            (folder / f"waterfall.{kind}").unlink(missing_ok=True)
        return None
    figure = draw_waterfall(summary, [folder / f"waterfall.{kind}" for kind in FORMATS])
    rungs = pd.json_normalize([to_dict(rung) for rung in summary.ladder], sep="_")
    write_text(folder / "waterfall.csv", rungs.to_csv(index=False, lineterminator="\n"))
    return figure
