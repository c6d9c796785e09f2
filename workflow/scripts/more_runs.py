"""Snakemake's adapter of the second stage: how many further runs the headline's cells need."""

from epochbench.aggregate.more_runs import plan_more_runs
from epochbench.aggregate.plan import write_plan
from epochbench.aggregate.read import read_records
from epochbench.aggregate.settings import Settings
from epochbench.console import stage

if "snakemake" in globals():
    with stage(snakemake.log[0]) as (console, _):
        records, _, _ = read_records(snakemake.input.records, snakemake.input.imports)
        settings = Settings(**snakemake.params.settings)
        plan = plan_more_runs(records, settings, snakemake.params.target, snakemake.params.budget_seconds)
        write_plan(snakemake.output[0], plan)
        print(plan.sentence, file=console)
