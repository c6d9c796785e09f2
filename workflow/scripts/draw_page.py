"""Snakemake's adapter of the stage report: the figures and the page, from the tables."""

from pathlib import Path

import pandas as pd

from epochbench.aggregate.store import read_summary
from epochbench.console import stage
from epochbench.report.draw import draw_page
from epochbench.sheets import read_published

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        summary = read_summary(snakemake.input.summary)
        epochs = pd.read_csv(snakemake.input.epochs)
        published = read_published(snakemake.input.published)
        draw_page(summary, epochs, published, Path(snakemake.output.page).parent, snakemake.input.samples)
