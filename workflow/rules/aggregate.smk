# aggregate: join the records into tables.
#
# requires: results/train/{device}/{cell}/run-{run}.json
# produces: results/aggregate/{epochs.csv,summary.csv,summary.json}


localrules:
    aggregate_records,


rule aggregate_records:
    input:
        records=planned_records,
        imports=config["results"]["import"],
    output:
        epochs="results/aggregate/epochs.csv",
        table=report(
            "results/aggregate/summary.csv",
            caption="../report/summary.rst",
            category="Tables",
        ),
        summary="results/aggregate/summary.json",
    log:
        "results/logs/aggregate/aggregate.log",
    conda:
        "../../environment.yml"
    params:
        settings=settings_of_summary(),
        notes=notes,
    message:
        "aggregate: records to tables"
    script:
        "../scripts/aggregate.py"
