"""Snakemake's adapter of the picture of sample images."""

from pathlib import Path

from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        from epochbench.shard.carry import unpack
        from epochbench.shard.samples import draw_samples

        unpack(snakemake.input.get("shards"), snakemake.input.manifest)
        draw_samples(snakemake.input.manifest, Path(snakemake.output[0]))
