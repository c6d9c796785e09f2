"""Snakemake's adapter of the target compare: the records that exist against an export, cell by cell."""

from epochbench.aggregate.compare import compare
from epochbench.aggregate.outcome import conclude, refuse
from epochbench.aggregate.read import read_records
from epochbench.aggregate.settings import Settings
from epochbench.console import stage
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import read_export
from epochbench.report.comparison import render_console, write_comparison

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        if not snakemake.params.base:
            raise BenchmarkError("compare.base is empty; name an export: make compare BASE=export.zip")
        settings = Settings(**snakemake.params.settings)
        base = read_export(snakemake.params.base)
        now, broken, _ = read_records(snakemake.params.records)
        comparisons = compare(base.records, now, settings, snakemake.params.threshold)
        left_out = base.left_out + broken
        outcome = conclude(comparisons, left_out, snakemake.params.threshold, snakemake.params.when_unsure)
        write_comparison(comparisons, outcome, snakemake.params.base, snakemake.params.folder)
        print(*render_console(comparisons, outcome, snakemake.params.base), sep="\n", file=console)
        for file in left_out:
            print(f"left out: {file.file}: {file.reason}", file=console)
        print(f"Page: {snakemake.params.folder}/comparison.html", file=console)
        refuse(outcome)
