# report: draw the figure and the page.
#
# requires: results/aggregate/{epochs.csv,summary.json}
# produces: results/report/{speedup.png,speedup.svg,speedup.pdf,index.html,summary.md}


localrules:
    draw_report,
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
