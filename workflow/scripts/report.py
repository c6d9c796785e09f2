"""Snakemake's adapter of the stage report."""

import json
from pathlib import Path

import pandas as pd

from epochbench.config import read_published
from epochbench.console import stage
from epochbench.report import draw_report

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        summary = json.loads(Path(snakemake.input.summary).read_text())
        epochs = pd.read_csv(snakemake.input.epochs)
        published = read_published(snakemake.input.published)
        draw_report(summary, epochs, published, Path(snakemake.output.page).parent, snakemake.input.samples)
