"""Snakemake's adapter of the reference calibration; torch is imported once the process is prepared for it."""

from epochbench.console import stage
from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare

if "snakemake" in globals():
    with stage(snakemake.log[0], exclusive=True) as (console, _):
        device, timing = snakemake.params.device, snakemake.config["timing"]
        threads = prepare(Cell("reference", device))
        from epochbench.timing.calibration_reference import write_reference

        tries, patience = timing["tries"], timing["quiet_seconds"]
        write_reference(device, threads, snakemake.output[0], tries, patience, console)
