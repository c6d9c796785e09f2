# The messages: what is said on the console before anything runs and after everything has, or has not.
#
# requires: the plan, the outputs of aggregate.smk and report.smk
# produces: results/logs/plan.json; after a failure, tables, figure and page from the records that exist

from epochbench import messages, progress, waiting


def announce_plan():
    """Write the plan that the jobs' "about so much left" is read from, and say what is to be timed.

    A dry run only says it.
    """
    try:
        if not workflow.dryrun:
            progress.write_plan(PLAN, first_records())
    except OSError as mistake:
        raise WorkflowError(
            f"{PLAN}: {mistake.strerror}; make results/ writable and run again"
        ) from None
    names = ", ".join(cell.cell for cell in planned_cells())
    planned = f"Timing {len(planned_cells())} cells, {len(RUNS)} runs each: {names}."
    print(planned, *notes_on_devices(), sep="\n", file=sys.stderr)
    if workflow.is_main_process and not workflow.local_exec:
        never = config["cluster"]["never_starts"]
        waiting.watch_queue(Path.cwd(), cancel=never == "cancel")


def announce_answer():
    """End with the answer in two lines and where the page lies; a target with a page of its own has named it."""
    own = (f"results/report/{name}.html" for name in ("comparison", "history"))
    if any(messages.is_newer(page, PLAN) for page in own):
        return
    lines = messages.answer_lines(rules.aggregate_records.output.summary)
    page = rules.draw_page.output.page
    if page.is_storage:
        # The local copies are gone by now.
        page = page.storage_object.query
        print("", f"Page: {page}", sep="\n", file=sys.stderr)
    elif Path(page).exists():
        # From where this was typed, wherever --directory leads.
        place = Path(workflow.overwrite_workdir or "") / page
        print("", *lines, f"Page: {place}", sep="\n", file=sys.stderr)


def failed_runs():
    """Return the planned runs that left a log but no record, with the last words of their logs."""
    return [
        {
            "cell": cell.cell,
            "run": run,
            "error": messages.last_words(log_path(cell, run)),
        }
        for cell in planned_cells()
        for run in runs_of(cell)
        if Path(log_path(cell, run)).exists()
        and not Path(record_path(cell, run)).exists()
    ]


def show_what_succeeded():
    """After a failure, list the runs that failed and draw the page from the records that exist.

    A page that this invocation drew itself, before a gate ended it, says all there is to say.
    """
    page, records, failed = (
        rules.draw_page.output.page,
        existing_records(),
        failed_runs(),
    )
    if not records or not runs_here() or messages.is_newer(page, PLAN):
        return
    if messages.is_newer(page, *records) and not failed:
        return
    for run in failed:
        print(
            f"failed: {run['cell']} run {run['run']}: {run['error']}", file=sys.stderr
        )
    arguments = {
        "places": places_of_report(),
        "settings": settings_of_summary(),
        "notes": notes_on_devices(),
        "failed": failed,
    }
    problem = messages.draw(SCRIPTS / "draw_after_failure.py", arguments)
    if problem:
        remedy = "once that is mended, type `snakemake --cores 1 report`"
        if workflow.deployment_settings.deployment_method:
            remedy += " with --software-deployment-method as before"
        print(f"The page could not be drawn: {problem}; {remedy}", file=sys.stderr)
    else:
        print(f"Page, from what succeeded: {page}", file=sys.stderr)
