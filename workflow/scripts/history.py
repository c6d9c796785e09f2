"""Snakemake's adapter of the target history: how the cells went over many exports."""

from epochbench.aggregate.history import read_history
from epochbench.aggregate.settings import Settings
from epochbench.console import stage
from epochbench.report.comparison import write_history

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        history = read_history(snakemake.params.exports, Settings(**snakemake.params.settings))
        write_history(history, snakemake.params.folder)
        for line in history.left_out:
            print(f"left out: {line}", file=console)
        print(f"Page: {snakemake.params.folder}/history.html", file=console)
