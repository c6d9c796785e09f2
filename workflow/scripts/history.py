"""Snakemake's adapter of the target history: how the cells went over many exports."""

from epochbench.comparison import write_history
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        left_out = write_history(snakemake.params.exports, snakemake.params.folder)
        print(
            *[f"left out: {line}" for line in left_out],
            f"Page: {snakemake.params.folder}/history.html",
            sep="\n",
            file=console,
        )
