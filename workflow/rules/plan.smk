# The plan: the checked config, the cells that are to be timed, where their records go, and in which order.
#
# requires: HOME and the package (source.smk), config/config.yaml where there is one, the sheet of cells
# produces: config (complete), CELLS, RUNS, and the functions below, which the rules name

import dataclasses
import functools
import json
import random
import traceback

from snakemake.checkpoints import Checkpoint
from snakemake.settings.types import DeploymentMethod
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

from epochbench import datasets, foreign
from epochbench.config import protocol, resolve_config
from epochbench.errors import BenchmarkError
from epochbench.files import digest_of_folder, is_url
from epochbench.shard.provenance import code_digest as sharding_digest
from epochbench.sheets import other_frameworks, read_cells, read_labels
from epochbench.timing import provenance, stack
from epochbench.timing.devices import (
    accelerators,
    lacking,
    lacking_by,
    manufacturers,
    unseen,
    unusable,
)
from epochbench.timing.devices.cpu import as_this_system_has
from epochbench.timing.frameworks import TORCH, environments


def whose_config():
    """Return a word on a config that a module was not given, and that was read in the folder where one types."""
    if IN_MODULE and config and not workflow.modifier.skip_configfile:
        return (
            "\nThe module statement has no `config:`, so that config/config.yaml was read; "
            "give the module a `config:` of its own (docs/deploy.md)."
        )
    return ""


try:
    # A job of a storage's starts before that brings the files of users.
    config.update(resolve_config(config, HOME, workflow.is_main_process))
    CELLS = {
        cell.cell: cell
        for cell in read_cells(
            config["cells"], config["columns"], workflow.is_main_process
        )
    }
    LABELS = read_labels(config["cells"])
    environments.name_interpreters(config["frameworks"]["interpreters"])
except BenchmarkError as mistake:
    # The traceback of the check would bury the lines that matter.
    raise WorkflowError(f"{mistake}{whose_config()}") from None


wildcard_constraints:
    cell="[a-z0-9][a-z0-9-]*",
    run="[1-9][0-9]*",


RUNS = range(1, config["timing"]["runs"] + 1)
# Of a cell, first and further ones; priorities count down from it.
MOST_RUNS = 1000
# Where a storage carries the files of jobs, it carries the shards in one, since their names depend on the data.
CARRIED = (
    {"shards": "results/shard/shards.zip"}
    if workflow.storage_settings.default_storage_provider
    else {}
)
CARRIED_NETWORKS = (
    {"networks": "results/networks.zip"}
    if CARRIED and any(foreign.is_file(cell.model) for cell in CELLS.values())
    else {}
)


def plan_of_jobs(wildcards):
    """Return the path of the plan that "about so much left" is read from.

    It is written and told when a run starts; in a module and in a dry run, where Snakemake starts no handler, it is now.
    """
    if workflow.is_main_process and workflow.executor_plugin:
        if IN_MODULE or workflow.dryrun:
            announce_once()
    return PLAN


def announce_once():
    """Announce the plan, however often a job's parameters are asked for.

    A module is read anew for each rule that is imported by itself, always with the same config.
    """
    if messages.is_news(id(config)):
        announce_plan()


def executor_typed():
    """Return the executor that the command line or a profile names, None where no command line started this.

    Snakemake keeps it for itself, and in a dry run has another one in its place: so it is read from the call.
    """
    for frame, _ in traceback.walk_stack(None):
        if frame.f_code.co_name == "args_to_api":
            name = getattr(frame.f_locals.get("args"), "executor", None)
            return ExecutorPluginRegistry().get_plugin(name) if name else None
    return None


EXECUTOR = executor_typed()


def executor():
    """Return the executor that jobs are handed to, the same in a dry run; None where none is known yet."""
    return EXECUTOR or workflow.executor_plugin


def runs_here():
    """Tell whether jobs run on this machine, rather than being handed to a cluster."""
    local = executor() is None or executor().common_settings.local_exec
    return workflow.is_main_process and local


# The sheet as it is, beside the cells as this system has them.
ASKED = dict(CELLS)
if runs_here() and config["devices"]["settings"] == "auto":
    CELLS = {cell.cell: cell for cell in as_this_system_has(CELLS.values())}


def gpu_cells_planned():
    """Tell whether GPU cells are run: as the config says, and with auto where a GPU is found or a cluster asked."""
    choice = config["devices"]["gpu"]
    if choice == "auto":
        return bool(accelerators()) if runs_here() else True
    return choice == "require"


def cells_of_devices():
    """Return the cells whose device this config allows and this machine has."""
    devices = {"cpu": config["devices"]["cpu"], "gpu": gpu_cells_planned()}
    return [cell for cell in CELLS.values() if devices[cell.device]]


def why_left_out(cell):
    """Return in words why a cell is not timed though its device is there, None where it is timed.

    On a cluster nobody knows the job's processor beforehand: it would fail there, or imitate bf16 many times slower.
    """
    if why := why_framework_missing(cell):
        return why
    if cell.execution == "epoch_graph" and config["dataset"]["residency"] == "host":
        return "an epoch's graph keeps its batches on the device, and dataset.residency is host"
    choice = config["devices"]["settings"]
    if (cell.device, cell.precision) == ("cpu", "bf16"):
        choice = config["devices"]["cpu_bf16"]
        if choice == "skip":
            return "devices.cpu_bf16 is skip"
        if choice == "auto" and not runs_here():
            return "jobs go to a cluster, and devices.cpu_bf16 is not require"
    return None if choice == "require" else lacking_there(cell)


def lacking_there(cell):
    """Return in words what the device that a cell would be timed on lacks for it; a cluster's GPUs are of one maker."""
    if runs_here():
        return lacking(cell)
    asked = manufacturers()[config["cluster"]["gpu_manufacturer"]]
    return lacking_by(asked, cell) if cell.device == "gpu" else None


def why_framework_missing(cell):
    """Return in words why a cell's framework cannot train where jobs run, None where it can or the config insists."""
    if cell.framework == TORCH or config["frameworks"]["when_missing"] == "fail":
        return None
    # No framework is worth installing for a device that it is not timed on.
    if cell.device == "gpu" and (why := lacking_there(cell)):
        return why
    if CARRIED:
        return (
            "jobs share no file system with this machine, so nobody knows whether they find "
            f"{cell.framework}; frameworks.when_missing: fail insists"
        )
    return missing_framework(cell.framework, cell.device)


@functools.cache
def missing_framework(framework, device):
    """Return in words why a framework cannot train where jobs run, None where it can, looking only once.

    Jobs of a cluster see the same folders. In an environment of conda's they have another Python than this process.
    """
    return environments.why_missing(framework, device, beside=not conda_is_used())


def conda_is_used():
    """Tell whether jobs run in environments of conda's."""
    methods = workflow.deployment_settings.deployment_method
    return DeploymentMethod.CONDA in methods


def planned_cells():
    """Return the cells that this config and this machine allow."""
    return [cell for cell in cells_of_devices() if why_left_out(cell) is None]


def record_path(cell, run):
    """Return where the record of one run goes."""
    return f"results/train/{cell.device}/{cell.cell}/run-{run}.json"


def log_path(cell, run):
    """Return where one run's log goes."""
    return f"results/logs/train/{cell.device}/{cell.cell}/run-{run}.log"


def runs_of(cell, further=None):
    """Return the numbers of a cell's runs: the first ones, and the further ones that are planned so far."""
    further = more_runs() if further is None else further
    return range(1, max(len(RUNS), further.get(cell.cell, 0)) + 1)


def more_runs():
    """Return how many runs the plan for the second stage gives each cell that it names."""
    try:
        return json.loads(Path(MORE_RUNS).read_text())["runs"]
    except OSError:
        return {}


def checkpoint_of_runs():
    """Return the checkpoint that plans further runs, by what it writes.

    `checkpoints` knows those of one import, but another workflow may import a rule anew, or without the others.
    """
    for found in workflow.rules:
        if found.is_checkpoint and found.output[0].endswith(MORE_RUNS):
            return Checkpoint(found, workflow.checkpoints)
    raise WorkflowError(
        "The rules that this one builds on are not imported: write `use rule * from ... as ...` first (docs/deploy.md)."
    )


def all_records(wildcards):
    """Return the records of the first runs, and those of the further ones that the checkpoint has planned."""
    with checkpoint_of_runs().get().output[0].open() as plan:
        further = json.load(plan)["runs"]
    return [
        record_path(cell, run)
        for cell in planned_cells()
        for run in runs_of(cell, further)
    ]


def first_records(wildcards=None):
    """Return the paths of every cell's first runs, as many as the config asks for."""
    records = [record_path(cell, run) for cell in planned_cells() for run in RUNS]
    if not records:
        why = (
            "all that there are were left out"
            if cells_of_devices()
            else "devices.cpu is false, and no GPU cell is planned"
        )
        raise WorkflowError(
            f"No cell is left to run: {why}. Allow a device, or add a cell to {config['cells']}. "
            f"{' '.join(notes_on_devices())}"
        )
    return records


def existing_records(wildcards=None):
    """Return the records on disk that belong to the sheet, whatever made them."""
    records = [
        record_path(cell, run) for cell in CELLS.values() for run in runs_of(cell)
    ]
    return [record for record in records if Path(record).exists()]


def settings_of_numbers():
    """Return how samples become numbers, and prices."""
    return config["statistics"] | config["cost"]


def settings_of_summary():
    """Return how samples become numbers, prices, what the sheet calls its cells, and its frameworks beside torch."""
    return settings_of_numbers() | {
        "labels": LABELS,
        "frameworks": other_frameworks(CELLS.values()),
    }


def places_of_report(wildcards=None):
    """Return what is read to draw the page again."""
    return {
        "records": existing_records(),
        "imports": config["results"]["import"],
        "published": config["published"],
        "plan": MORE_RUNS,
    }


def notes_on_devices(wildcards=None):
    """Return a word on the cells that are left out."""
    skipped = {}
    for cell in cells_of_devices():
        skipped.setdefault(why_left_out(cell), []).append(cell.cell)
    left_out = [
        f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} left out: {why}."
        for why, names in skipped.items()
        if why
    ]
    changed = [cell.cell for cell in planned_cells() if cell != ASKED[cell.cell]]
    without = (
        [
            f"{', '.join(changed)} {'has' if len(changed) == 1 else 'have'} allocator system instead of tuned, "
            "a setting of glibc, which this system does not have."
        ]
        if changed
        else []
    )
    return [*left_out, *without, *notes_on_gpu()]


def notes_on_gpu():
    """Return why no GPU is timed, where none is."""
    gpu_in_sheet = any(cell.device == "gpu" for cell in CELLS.values())
    if not gpu_in_sheet or gpu_cells_planned():
        return []
    if config["devices"]["gpu"] == "skip":
        return ["GPU cells were left out (devices.gpu: skip)."]
    if why := unseen():
        return [
            f"Nobody could look for a GPU on this machine ({why}), so no GPU was timed; devices.gpu: require insists."
        ]
    if why := unusable():
        return [
            f"{why[0].upper()}{why[1:]} (docs/devices.md), so no GPU was timed. devices.gpu: require insists."
        ]
    return ["No GPU was found on this machine, so no GPU was timed."]


def local_archive(wildcards):
    """Return the archive as an input where it is a file of the user's, or each file of a folder."""
    archive = config["dataset"]["archive"]
    if not archive or is_url(archive):
        return []
    place = Path(archive).expanduser()
    return (
        [local(str(path)) for path in sorted(place.iterdir())]
        if place.is_dir()
        else local(archive)
    )


def wanted_archive(wildcards):
    """Return what decides which archive is acquired."""
    dataset = config["dataset"]
    keys = ("source", "archive", "sha256", "mirrors", "when_unreachable")
    stand_in = {key: dataset["synthetic"][key] for key in ("images_per_batch", "seed")}
    plan = datasets.plan_settings(dataset)
    return {key: dataset[key] for key in keys} | {"synthetic": stand_in, "plan": plan}


def state_of_folder(wildcards):
    """Return a word that changes with any image of the user's folder, None without one."""
    dataset = config["dataset"]
    wanted = dataset["source"] == "folder"
    return digest_of_folder(dataset["folder"]["path"]) if wanted else None


def code_of_shards(wildcards):
    """Return the digest of the code that reads and writes the images: another one makes the shards anew."""
    return sharding_digest(datasets.layout_of(config["dataset"]))


def cell_of(wildcards):
    """Return the cell that a timing job is asked for."""
    if wildcards.cell not in CELLS:
        raise WorkflowError(
            f"There is no cell '{wildcards.cell}' in {config['cells']}."
        )
    return CELLS[wildcards.cell]


def settings_of_cell(wildcards):
    """Return the cell as plain values, which Snakemake compares with those of the last run."""
    return dataclasses.asdict(cell_of(wildcards))


def settings_of_protocol():
    """Return how a run is timed, as plain values."""
    return dataclasses.asdict(protocol(config))


def code_of_cell(wildcards):
    """Return the digest of the code that decides this cell's timing: another one makes its records stale."""
    model = cell_of(wildcards).model
    if not workflow.is_main_process and not foreign.is_here(model):
        return "brought later"
    return provenance.code_digest(model)


def networks_of_users():
    """Return the models that are files of a user's own."""
    return sorted(
        {cell.model for cell in CELLS.values() if foreign.is_file(cell.model)}
    )


def files_of_users(wildcards):
    """Return those files and what they import, which lie where this is typed, or beside the workflow.

    The Snakemake of a job that a storage serves has none of them yet.
    """
    here = [name for name in networks_of_users() if foreign.is_here(name)]
    files = {str(file) for name in here for file in foreign.sources(name)}
    return local(sorted(files))


def machine_fingerprint(wildcards):
    """Another machine's records are never up to date here; a cluster's nodes are not known beforehand."""
    return provenance.fingerprint() if runs_here() else "cluster"


def stack_of_jobs(wildcards):
    """Another torch, Python or driver makes records stale; a cluster's nodes are not known beforehand."""
    return stack.installed_stack() if runs_here() else "cluster"


def stack_of_cell(wildcards):
    """The same for a cell, and of another framework than torch whatever lies in its environment."""
    framework = cell_of(wildcards).framework
    if framework == TORCH or not runs_here():
        return stack_of_jobs(wildcards)
    return [stack_of_jobs(wildcards), versions_of_framework(framework)]


@functools.cache
def versions_of_framework(framework):
    """Return what lies in a framework's environment, looking only once."""
    return environments.installed(framework)


def timing_priority(wildcards):
    """Time run 1 of every cell before run 2 of any, so that a drift of the machine hits all alike.

    Within a round the order is shuffled from timing.seed, anew for every round.
    """
    run = int(wildcards.run)
    order = sorted(CELLS)
    random.Random(f"{config['timing']['seed']} {run}").shuffle(order)
    return (MOST_RUNS - run) * len(order) + order.index(wildcards.cell)
