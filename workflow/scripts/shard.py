"""Snakemake's adapter of the stage shard."""

import json
from pathlib import Path

from epochbench.console import stage
from epochbench.shard.carry import pack
from epochbench.shard.write import shard_archive
from epochbench.timing.process import keep_freed_memory

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        keep_freed_memory()
        source = json.loads(Path(snakemake.input.manifest).read_text())
        folder = Path(snakemake.output.manifest).parent
        shard_archive(snakemake.input.archive, source, folder, snakemake.params.shard_size)
        pack(snakemake.output.manifest, snakemake.output.get("shards"))
