# aggregate: plan further runs where the headline needs them, and join all records into tables.
#
# requires: results/train/{device}/{cell}/run-{run}.json
# produces: results/aggregate/{more_runs.json,epochs.csv,summary.csv,summary.json}


# Once every cell has its first runs: a checkpoint, since what it writes decides which records there will be.
checkpoint plan_more_runs:
    input:
        records=first_records,
        imports=local(config["results"]["import"]),
    output:
        MORE_RUNS,
    log:
        "results/logs/aggregate/more_runs.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        settings=settings_of_numbers(),
        target=config["timing"]["target"],
        budget_seconds=config["timing"]["more_runs_seconds"],
    message:
        "aggregate: are further runs needed?"
    script:
        "../scripts/more_runs.py"


rule aggregate_records:
    input:
        records=all_records,
        more_runs=MORE_RUNS,
        imports=local(config["results"]["import"]),
    output:
        epochs=EPOCHS,
        table=report(
            TABLE,
            caption="../report/summary.rst",
            category="Tables",
            labels={"table": "a row for each cell"},
        ),
        summary=SUMMARY,
    log:
        "results/logs/aggregate/aggregate.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        settings=settings_of_summary(),
        notes=notes_on_devices(),
    message:
        "aggregate: records to tables"
    script:
        "../scripts/aggregate.py"
