"""Snakemake's adapter of the stage train; torch and numpy are imported once the process is prepared for them."""

from epochbench import progress
from epochbench.console import stage
from epochbench.records.store import write_record
from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare
from epochbench.timing.protocol import Protocol

if "snakemake" in globals():
    with stage(snakemake.log[0], exclusive=True) as (console, waited):
        cell = Cell(**snakemake.params.cell)
        threads = prepare(cell)
        from epochbench.records.gates import judged
        from epochbench.timing.run import run_cell
        from epochbench.timing.task import Task

        protocol = Protocol(**snakemake.params.protocol)
        task = Task(cell, int(snakemake.wildcards.run), protocol, snakemake.input.manifest, threads)
        write_record(snakemake.output[0], judged(run_cell(task, waited, console)))
        print(progress.describe(snakemake.params.plan), file=console)
