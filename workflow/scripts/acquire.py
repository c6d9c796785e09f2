"""Snakemake's adapter of the stage acquire."""

from epochbench.acquire import Wanted, acquire
from epochbench.console import stage
from epochbench.synthetic import Synthetic

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        wanted = snakemake.params.wanted
        acquire(
            Wanted(**(wanted | {"mirrors": tuple(wanted["mirrors"]), "synthetic": Synthetic(**wanted["synthetic"])})),
            snakemake.output.archive,
            console,
        )
