"""Snakemake's adapter of the target report: aggregate and report again, from the records that exist."""

from epochbench.aggregate import Settings
from epochbench.console import stage
from epochbench.redraw import Places, redraw

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        settings = Settings(**snakemake.params.settings)
        print(*redraw(Places(**snakemake.params.places), settings, snakemake.params.notes), sep="\n", file=console)
