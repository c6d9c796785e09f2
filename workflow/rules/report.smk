# report: draw the figure and the page.
#
# requires: results/aggregate/{epochs.csv,summary.json}
# produces: results/report/{speedup.png,speedup.svg,speedup.pdf,index.html,summary.md,gates.txt}


localrules:
    draw_report,
    judge_gates,
    report,


rule draw_report:
    input:
        epochs=rules.aggregate_records.output.epochs,
        summary=rules.aggregate_records.output.summary,
        published=config["published"],
    output:
        png="results/report/speedup.png",
        svg=report(
            "results/report/speedup.svg",
            caption="../report/speedup.rst",
            category="Figures",
        ),
        pdf="results/report/speedup.pdf",
        page=report(
            "results/report/index.html",
            caption="../report/page.rst",
            category="Page",
        ),
        text="results/report/summary.md",
    log:
        "results/logs/report/report.log",
    conda:
        "../../environment.yml"
    message:
        "report: the figure and the page"
    script:
        "../scripts/report.py"


# Last of all, when everything has been written: a wrong number ends the run with an error.
rule judge_gates:
    input:
        summary=rules.aggregate_records.output.summary,
        page=rules.draw_report.output.page,
    output:
        "results/report/gates.txt",
    log:
        "results/logs/report/gates.log",
    conda:
        "../../environment.yml"
    params:
        on_failure=config["on_gate_failure"],
    message:
        "report: the gates"
    script:
        "../scripts/judge.py"


# The target for people: no inputs, so it never trains, and no outputs, so it always draws.
rule report:
    log:
        "results/logs/report/redraw.log",
    conda:
        "../../environment.yml"
    params:
        records=existing_records,
        settings=config["statistics"],
        notes=notes,
        published=config["published"],
        tables="results/aggregate",
        report="results/report",
    message:
        "report: drawn again from the records that exist"
    script:
        "../scripts/redraw.py"
