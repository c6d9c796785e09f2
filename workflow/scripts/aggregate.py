"""Snakemake's adapter of the stage aggregate."""

from pathlib import Path

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.plan import read_plan
from epochbench.aggregate.read import read_records
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.tables import write_tables
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        records, left_out, differences = read_records(snakemake.input.records, snakemake.input.imports)
        notes, plan = [*snakemake.params.notes, *differences], read_plan(snakemake.input.more_runs)
        summary = aggregate(records, Settings(**snakemake.params.settings), notes, left_out, plan=plan)
        write_tables(Path(snakemake.output.summary).parent, records, summary)
