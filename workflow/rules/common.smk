# What every stage shares: the checked config, the planned cells, and the helpers that rules name.
#
# requires: config/config.yaml, config/cells.tsv
# produces: config (complete), CELLS, and the functions below

import dataclasses
import json
import random
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(Path(workflow.basedir) / "workflow" / "scripts"))

from epochbench import machine, progress, provenance
from epochbench.config import is_url, protocol, read_cells, resolve_config
from epochbench.errors import BenchmarkError
from epochbench.record import threads_of

try:
    config.update(resolve_config(config))
    CELLS = {cell.cell: cell for cell in read_cells(config["cells"])}
except BenchmarkError as mistake:
    # The traceback of the check would bury the lines that matter.
    raise WorkflowError(str(mistake)) from None


wildcard_constraints:
    cell="[a-z0-9][a-z0-9-]*",
    run="[1-9][0-9]*",


RUNS = range(1, config["timing"]["runs"] + 1)
PLAN = "results/logs/plan.json"


def runs_here():
    """Tell whether jobs run on this machine, rather than being handed to a cluster."""
    return workflow.is_main_process and workflow.local_exec


def gpu_cells_planned():
    """Tell whether GPU cells are run: as the config says, and with auto where a GPU is found or a cluster asked."""
    choice = config["devices"]["gpu"]
    if choice == "auto":
        return bool(machine.gpus()) if runs_here() else True
    return choice == "require"


def planned_cells():
    devices = {"cpu": config["devices"]["cpu"], "gpu": gpu_cells_planned()}
    return [cell for cell in CELLS.values() if devices[cell.device]]


def record_path(cell, run):
    return f"results/train/{cell.device}/{cell.cell}/run-{run}.json"


def planned_records(wildcards=None):
    """Return the paths of all records that this config asks for."""
    records = [record_path(cell, run) for cell in planned_cells() for run in RUNS]
    if not records:
        raise WorkflowError(
            "No cell is left to run: devices.cpu is false, and no GPU cell is planned. "
            f"Allow a device, or add a cell to {config['cells']}"
        )
    return records


def existing_records(wildcards=None):
    """Return the records on disk that belong to the sheet, whatever made them."""
    found = [record_path(cell, run) for cell in CELLS.values() for run in RUNS]
    return [record for record in found if Path(record).exists()]


def settings_of_summary():
    """Return how samples become numbers, and prices."""
    return config["statistics"] | config["cost"]


def redraw_places(wildcards=None):
    """Return what the target report reads."""
    return {
        "records": existing_records(),
        "imports": config["results"]["import"],
        "published": config["published"],
    }


def notes(wildcards=None):
    """Return what must be said beside every result."""
    gpu_in_sheet = any(cell.device == "gpu" for cell in CELLS.values())
    if not gpu_in_sheet or gpu_cells_planned():
        return []
    if config["devices"]["gpu"] == "skip":
        return ["GPU cells were left out (devices.gpu: skip)."]
    return ["No GPU was found on this machine, so no GPU was timed."]


def local_archive(wildcards):
    """Return the archive as an input where it is a file of the user's."""
    archive = config["dataset"]["archive"]
    return archive if archive and not is_url(archive) else []


def wanted_archive(wildcards):
    """Return what decides which archive is acquired."""
    keys = ("source", "archive", "sha256", "mirrors", "when_unreachable", "synthetic")
    return {key: config["dataset"][key] for key in keys}


def cell_settings(wildcards):
    if wildcards.cell not in CELLS:
        raise WorkflowError(
            f"There is no cell '{wildcards.cell}' in {config['cells']}."
        )
    return dataclasses.asdict(CELLS[wildcards.cell])


def machine_fingerprint(wildcards):
    """Another machine's records are never up to date here; a cluster's nodes are not known beforehand."""
    return machine.fingerprint() if runs_here() else "cluster"


def timing_threads(wildcards):
    """Claim every core here, so that nothing else runs beside the clock; ask a cluster for what the cell needs."""
    if runs_here():
        return workflow.cores
    cell = CELLS[wildcards.cell]
    return threads_of(cell.threads, config["cluster"][f"{cell.device}_cores"])


def timing_priority(wildcards):
    """Time run 1 of every cell before run 2 of any, so that a drift of the machine hits all alike.

    Within a round the order is shuffled from timing.seed, anew for every round.
    """
    run = int(wildcards.run)
    order = sorted(CELLS)
    random.Random(f"{config['timing']['seed']} {run}").shuffle(order)
    return (config["timing"]["runs"] - run) * len(order) + order.index(wildcards.cell)


def gpus_of_cell(wildcards):
    """A process of a team has a GPU of its own, all on one node."""
    return CELLS[wildcards.cell].processes


def gpu_model_of_cell(wildcards):
    """Ask for the cell's own GPU model, or the config's; None asks for any."""
    return CELLS[wildcards.cell].gpu_model or config["cluster"]["gpu_model"] or None


def constraint_of_cell(wildcards):
    """Ask for nodes with the cell's own feature, or the config's; None asks for any."""
    return CELLS[wildcards.cell].constraint or config["cluster"]["constraint"] or None


def cluster_options():
    """Return what every job that goes to the cluster asks for, as the Slurm plugin names it."""
    names = {"slurm_partition": "partition", "slurm_account": "account", "qos": "qos"}
    asked = {name: config["cluster"][key] for name, key in names.items()}
    return {name: value for name, value in asked.items() if value}


def memory_mb(wildcards, attempt):
    return config["cluster"]["memory_mb"] * attempt


def runtime_minutes(wildcards, attempt):
    return config["cluster"]["runtime_minutes"] * attempt


def announce_plan():
    """Write the plan that the jobs' "about so much left" is read from, and say what is to be timed."""
    try:
        progress.write_plan(PLAN, planned_records())
    except OSError as mistake:
        raise WorkflowError(
            f"{PLAN}: {mistake.strerror}; make results/ writable and run again"
        ) from None
    names = ", ".join(cell.cell for cell in planned_cells())
    said = [
        f"Timing {len(planned_cells())} cells, {len(RUNS)} runs each: {names}.",
        *notes(),
    ]
    print(*said, sep="\n", file=sys.stderr)


def failed_runs():
    """Return the planned runs without a record, with the last words of their logs."""
    from epochbench.aggregate import Missing
    from epochbench.redraw import last_words

    failed = []
    for cell in planned_cells():
        for run in RUNS:
            log = f"results/logs/train/{cell.device}/{cell.cell}/run-{run}.log"
            if Path(log).exists() and not Path(record_path(cell, run)).exists():
                failed.append(Missing(cell.cell, run, last_words(log)))
    return failed


def show_what_succeeded():
    """After a failure, draw the page from the records that exist and list the runs that failed."""
    from epochbench.aggregate import Settings
    from epochbench.redraw import Places, redraw

    drawn = Path(rules.judge_gates.output[0]).exists()
    if drawn or not existing_records() or not runs_here():
        return
    failed = failed_runs()
    for run in failed:
        print(f"failed: {run.cell} run {run.run}: {run.error}", file=sys.stderr)
    try:
        redraw(
            Places(**redraw_places()),
            Settings(**settings_of_summary()),
            notes(),
            failed,
        )
    except (BenchmarkError, OSError) as mistake:
        print(f"The page could not be drawn: {mistake}", file=sys.stderr)
    else:
        print(
            f"Page, from what succeeded: {rules.draw_report.output.page}",
            file=sys.stderr,
        )


def announce_answer():
    """End with the answer in two lines and where the page lies."""
    from epochbench.aggregate import answer

    summary = Path(rules.aggregate_records.output.summary)
    if summary.exists() and Path(rules.draw_report.output.page).exists():
        lines = [line for line in answer(json.loads(summary.read_text())) if line]
        print(
            "",
            *lines,
            f"Page: {rules.draw_report.output.page}",
            sep="\n",
            file=sys.stderr,
        )
