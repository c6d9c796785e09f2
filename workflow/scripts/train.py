"""Snakemake's adapter of the stage train."""

from epochbench import foreign, progress
from epochbench.console import stage
from epochbench.records.store import write_record
from epochbench.shard.carry import unpack
from epochbench.timing.cell import Cell
from epochbench.timing.job import run_job
from epochbench.timing.protocol import Protocol

if "snakemake" in globals():
    with stage(snakemake.log[0], exclusive=True) as (console, waited):
        cell, protocol = Cell(**snakemake.params.cell), Protocol(**snakemake.params.protocol)
        run, manifest = int(snakemake.wildcards.run), snakemake.input.manifest
        unpack(snakemake.input.get("shards"), manifest)
        foreign.unpack(snakemake.input.get("networks"))
        # How many runs come first is read from the config: as a parameter, a change would make every record stale.
        first_runs = snakemake.config["timing"]["runs"]
        record = run_job(cell, run, protocol, manifest, snakemake.input.reference, first_runs, waited, console)
        # Only now: the gates import numpy, and the process must be prepared before that.
        from epochbench.records.gates import judged

        write_record(snakemake.output[0], judged(record))
        print(progress.describe(snakemake.params.plan), file=console)
