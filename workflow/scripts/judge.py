"""Snakemake's adapter of the gates' last word."""

from epochbench.aggregate.answer import failures
from epochbench.aggregate.store import read_summary
from epochbench.console import stage
from epochbench.errors import BenchmarkError
from epochbench.files import write_text

if "snakemake" in globals():
    with stage(snakemake.log[0]):
        wrong = failures(read_summary(snakemake.input.summary))
        if wrong and snakemake.params.on_failure == "fail":
            lines = "\n  ".join(wrong)
            raise BenchmarkError(
                f"hard gates failed; these numbers are wrong and stay out of the headline:\n  {lines}\n"
                f"Everything is written, see {snakemake.input.page}; on_gate_failure: warn would not stop here."
            )
        write_text(snakemake.output[0], "".join(f"{line}\n" for line in wrong) or "No hard gate failed.\n")
