"""Snakemake's adapter of the stage aggregate."""

from pathlib import Path

from epochbench.aggregate import Settings, aggregate, read_records, write_tables
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        records, left_out, differences = read_records(snakemake.input.records, snakemake.input.imports)
        notes = [*snakemake.params.notes, *differences]
        summary = aggregate(records, Settings(**snakemake.params.settings), notes, left_out)
        write_tables(Path(snakemake.output.summary).parent, records, summary)
