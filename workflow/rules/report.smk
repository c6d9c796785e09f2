# report: draw the figure and the page.
#
# requires: results/aggregate/{epochs.csv,summary.json}
# produces: results/report/{speedup.png,speedup.svg,speedup.pdf,index.html,summary.md,gates.txt} and, to be
# sent on, {card.png,card.svg,card.txt,badge.svg}


rule draw_page:
    input:
        epochs=EPOCHS,
        summary=SUMMARY,
        published=local(config["published"]),
        samples=SAMPLES,
    output:
        png=PAGE["png"],
        svg=report(
            PAGE["svg"],
            caption="../report/speedup.rst",
            category="Figures",
            labels={"figure": "epoch times and speedups"},
        ),
        pdf=PAGE["pdf"],
        page=report(
            PAGE["page"],
            caption="../report/page.rst",
            category="Page",
            labels={"page": "all results"},
        ),
        text=PAGE["text"],
        card=report(
            PAGE["card"],
            caption="../report/card.rst",
            category="Figures",
        ),
        card_svg=PAGE["card_svg"],
        lines=PAGE["lines"],
        badge=PAGE["badge"],
    log:
        "results/logs/report/page.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    message:
        "report: the figure and the page"
    script:
        "../scripts/draw_page.py"


# Last of all, when everything has been written: a wrong number ends the run with an error.
rule judge_gates:
    input:
        summary=SUMMARY,
        page=PAGE["page"],
    output:
        GATES,
    log:
        "results/logs/report/gates.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        on_failure=config["on_gate_failure"],
    message:
        "report: the gates"
    script:
        "../scripts/judge.py"


# The targets for people: no inputs, so they never train, and no outputs, so they always run.
rule report:
    log:
        "results/logs/report/report.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        places=places_of_report,
        settings=settings_of_summary(),
        notes=notes_on_devices,
    message:
        "report: drawn again from the records that exist"
    script:
        "../scripts/report.py"


rule export:
    log:
        "results/logs/report/export.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        records=existing_records,
        out="results/export.zip",
    message:
        "export: the records that exist, in one file"
    script:
        "../scripts/export.py"


rule compare:
    log:
        "results/logs/report/compare.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        records=existing_records,
        base=config["compare"]["base"],
        threshold=config["compare"]["threshold"],
        when_unsure=config["compare"]["when_unsure"],
        settings=settings_of_summary(),
        folder="results/report",
    message:
        "compare: the records that exist with an export"
    script:
        "../scripts/compare.py"


rule history:
    log:
        "results/logs/report/history.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    params:
        exports=config["compare"]["history"],
        settings=settings_of_summary(),
        folder="results/report",
    message:
        "history: the cells over many exports"
    script:
        "../scripts/history.py"


rule board:
    log:
        "results/logs/report/board.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    # As many as there are, up to this.
    threads: 16
    params:
        exports=config["board"]["exports"],
        code=config["board"]["code"],
        settings=settings_of_summary(),
        folder="results/report",
    message:
        "board: the results of many exports"
    script:
        "../scripts/board.py"


use rule board as board_check with:
    log:
        "results/logs/report/board_check.log",
    params:
        folder=None,
    message:
        "board: may each export be there?"
