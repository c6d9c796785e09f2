"""Snakemake's adapter that packs the networks of a user's own, for a storage to carry."""

from epochbench import foreign
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        foreign.pack(snakemake.params.models, snakemake.output[0])
