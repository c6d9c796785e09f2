"""Snakemake's adapter of the reference calibration; torch is imported once the process is prepared for it."""

from epochbench.console import stage
from epochbench.timing.cell import Cell
from epochbench.timing.process import prepare

if "snakemake" in globals():
    with stage(snakemake.log[0], exclusive=True):
        threads = prepare(Cell("reference", snakemake.params.device))
        from epochbench.timing.calibration_reference import write_reference

        write_reference(snakemake.params.device, threads, snakemake.output[0])
