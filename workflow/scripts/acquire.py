"""Snakemake's adapter of the stage acquire."""

from epochbench.acquire.acquire import Wanted, acquire
from epochbench.acquire.synthetic import Synthetic
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        wanted = snakemake.params.wanted
        acquire(
            Wanted(**(wanted | {"mirrors": tuple(wanted["mirrors"]), "synthetic": Synthetic(**wanted["synthetic"])})),
            snakemake.output.archive,
            console,
        )
