"""Snakemake's adapter of the target compare: the records that exist against an export, cell by cell."""

from epochbench.aggregate import Settings, read_records
from epochbench.comparison import judge, render_console, write_comparison
from epochbench.console import stage
from epochbench.errors import BenchmarkError
from epochbench.exchange import compare, read_export

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        if not snakemake.params.base:
            raise BenchmarkError("compare.base is empty; name an export: make compare BASE=export.zip")
        settings = Settings(**snakemake.params.settings)
        base = read_export(snakemake.params.base)
        now, broken, _ = read_records(snakemake.params.records)
        found = compare(base.records, now, settings.confidence, settings.noise_threshold)
        write_comparison(found, snakemake.params.base, snakemake.params.folder)
        print(*render_console(found, snakemake.params.base), sep="\n", file=console)
        for file in base.left_out + broken:
            print(f"left out: {file.file}: {file.reason}", file=console)
        judge(found, snakemake.params.threshold)
