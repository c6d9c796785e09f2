"""Snakemake's adapter of the target report: tables, figures and page again, from the records that exist."""

from epochbench.aggregate.settings import Settings
from epochbench.console import stage
from epochbench.report.report import Places, report

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        places, settings = Places(**snakemake.params.places), Settings(**snakemake.params.settings)
        summary = report(places, settings, snakemake.params.notes)
        print(*summary.answer, sep="\n", file=console)
