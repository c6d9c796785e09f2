# How much faster does this GPU train than this CPU?
#
# acquire -> shard -> train -> aggregate -> report: a page for each stage, in this order.

from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/acquire.smk"
include: "workflow/rules/shard.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/aggregate.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        # Named here too: a page that was drawn from fewer records, after a failure, must not count as the whole.
        planned_records,
        rules.draw_report.output,
        rules.aggregate_records.output,
        rules.judge_gates.output,


onstart:
    announce_plan()


onsuccess:
    announce_answer()


onerror:
    show_what_succeeded()
