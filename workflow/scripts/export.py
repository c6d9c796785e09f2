"""Snakemake's adapter of the target export: the records that exist, in one file for other machines."""

from datetime import UTC, datetime

from epochbench.aggregate.read import read_records
from epochbench.console import stage
from epochbench.records.exchange import write_export

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        records, left_out, _ = read_records(snakemake.params.records)
        write_export(records, snakemake.params.out, datetime.now(UTC).isoformat(timespec="seconds"))
        print(f"{len(records)} records exported to {snakemake.params.out}", file=console)
        for file in left_out:
            print(f"left out: {file.reason}", file=console)
