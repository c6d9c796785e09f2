"""Snakemake's adapter of the stage train; torch is imported once the process is prepared for it."""

from epochbench import progress
from epochbench.console import stage
from epochbench.process import prepare
from epochbench.record import Cell, Protocol, write_record

if "snakemake" in globals():
    with stage(snakemake.log[0], exclusive=True) as (console, waited):
        cell = Cell(**snakemake.params.cell)
        threads = prepare(cell)
        from epochbench.train import Task, run_cell

        protocol = Protocol(**snakemake.params.protocol)
        task = Task(cell, int(snakemake.wildcards.run), protocol, snakemake.input.manifest, threads)
        write_record(snakemake.output[0], run_cell(task, waited, console))
        print(progress.describe(snakemake.params.plan), file=console)
