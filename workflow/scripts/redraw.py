"""Snakemake's adapter of the target report: aggregate and report again, from the records that exist."""

import pandas as pd

from epochbench.aggregate import Settings, aggregate, answer, read_records, write_tables
from epochbench.config import read_published
from epochbench.console import stage
from epochbench.report import draw_report

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        records = read_records(snakemake.params.records)
        summary = aggregate(records, Settings(**snakemake.params.settings), snakemake.params.notes)
        write_tables(snakemake.params.tables, records, summary)
        epochs = pd.read_csv(f"{snakemake.params.tables}/epochs.csv")
        draw_report(summary, epochs, read_published(snakemake.params.published), snakemake.params.report)
        print(*answer(summary), sep="\n", file=console)
