"""Snakemake's adapter of the gates' last word."""

import json
from pathlib import Path

from epochbench.aggregate import failures
from epochbench.console import stage
from epochbench.errors import BenchmarkError
from epochbench.record import write_text

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        wrong = failures(json.loads(Path(snakemake.input.summary).read_text()))
        if wrong and snakemake.params.on_failure == "fail":
            lines = "\n  ".join(wrong)
            raise BenchmarkError(
                f"hard gates failed; these numbers are wrong and stay out of the headline:\n  {lines}\n"
                f"Everything is written, see {snakemake.input.page}; on_gate_failure: warn would not stop here."
            )
        write_text(snakemake.output[0], "".join(f"{line}\n" for line in wrong) or "No hard gate failed.\n")
