# The cluster: what a job asks of a scheduler, and what a timing job claims of this machine where there is none.
#
# requires: config, CELLS, executor and runs_here of plan.smk
# produces: the functions below, which the rules name under threads and resources

from epochbench.timing.cell import threads_of
from epochbench.timing.devices import manufacturers

# Slurm gives a job that asks for a node of its own and for no number of cores every core there.
WHOLE_NODE = "all"


def timing_threads(wildcards):
    """Claim every core here, so that nothing else runs beside the clock; ask a cluster for what the cell needs."""
    if runs_here():
        return workflow.cores
    cell = CELLS[wildcards.cell]
    cores = cores_asked(cell.device)
    whole = takes_whole_node(cell.device, cell.threads)
    return 1 if whole else threads_of(cell.threads, cores)


def cpu_reference_threads(wildcards):
    """Return the cores of the CPU's calibration."""
    return reference_threads("cpu")


def gpu_reference_threads(wildcards):
    """Return the cores of the GPU's calibration."""
    return reference_threads("gpu")


def reference_threads(device):
    """Claim every core here; ask a cluster for as many as a device's cell with all threads gets."""
    if runs_here():
        return workflow.cores
    cores = cores_asked(device)
    return 1 if takes_whole_node(device) else cores


def sharding_threads(wildcards):
    """Read an archive with two; decode or make images with every core here."""
    planned = datasets.plan_settings(config["dataset"]) is not None
    return workflow.cores if planned and runs_here() else 2


def cores_asked(device):
    """Return what the config says of a device's cores; a whole node of unknown size is Slurm's to give alone."""
    cores = config["cluster"][f"{device}_cores"]
    if cores == WHOLE_NODE and "generic" in executor().name:
        raise WorkflowError(
            f"cluster.{device}_cores is {WHOLE_NODE}, which Slurm's own profile alone can ask for; "
            "give the cores of a node, such as cluster='{cpu_cores: 16, gpu_cores: 16}'"
        )
    return cores


# Now, rather than once the data are there and the first job asks for cores.
if workflow.is_main_process and not runs_here():
    try:
        for cell in planned_cells():
            cores_asked(cell.device)
    except WorkflowError as mistake:
        raise WorkflowError(str(mistake)) from None


def takes_whole_node(device, threads=None):
    """Tell whether a job asks for no number of cores: its threads are all of a node or a share, whatever its size."""
    whole = config["cluster"][f"{device}_cores"] == WHOLE_NODE
    return whole and not isinstance(threads, int)


def timing_cpus_per_task(wildcards):
    """Ask Slurm for no number of cores (below 0) where a cell takes its whole node."""
    cell = CELLS[wildcards.cell]
    return -1 if takes_whole_node(cell.device, cell.threads) else None


def cpu_reference_cpus_per_task(wildcards):
    """Ask Slurm for no number of cores (below 0) where the CPU's calibration takes its whole node."""
    return -1 if takes_whole_node("cpu") else None


def gpu_reference_cpus_per_task(wildcards):
    """Ask Slurm for no number of cores (below 0) where the GPU's calibration takes its whole node."""
    return -1 if takes_whole_node("gpu") else None


def gpus_of_cell(wildcards):
    """A process of a team has a GPU of its own, all on one node."""
    return asked_as("gpus", CELLS[wildcards.cell].processes)


def gpu_model_of_cell(wildcards):
    """Ask for the cell's own GPU model, or the config's; None asks for any."""
    return asked_as("gpus", model_asked(CELLS[wildcards.cell]))


def gres_of_cell(wildcards):
    """Ask for the same as a generic resource, where its maker's GPUs are asked for so."""
    cell = CELLS[wildcards.cell]
    return asked_as("gres", gres_of(model_asked(cell), cell.processes))


def reference_gpus(wildcards):
    """Ask for one GPU for its calibration."""
    return asked_as("gpus", 1)


def reference_gpu_model(wildcards):
    """Ask for the config's GPU model; None asks for any."""
    return asked_as("gpus", model_asked())


def reference_gres(wildcards):
    """Ask for the same as a generic resource, where its maker's GPUs are asked for so."""
    return asked_as("gres", gres_of(model_asked(), 1))


def model_asked(cell=None):
    """Return the GPU model that a cell or else the config names, None where neither does."""
    return (cell and cell.gpu_model) or config["cluster"]["gpu_model"] or None


def gres_of(model, count):
    """Return the words of Slurm's --gres for so many GPUs of a model, or of any."""
    return ":".join(["gpu", *([model] if model else []), str(count)])


def asked_as(form, value):
    """Return a value where GPUs are asked for in this form, else None: as `gres` of Slurm alone, elsewhere as `gpus`."""
    asked = manufacturers()[config["cluster"]["gpu_manufacturer"]]
    slurm = executor() is not None and executor().name.startswith("slurm")
    return value if form == (asked.slurm_form if slurm else "gpus") else None


def constraint_of_cell(wildcards):
    """Ask for nodes with the cell's own feature, or the config's; None asks for any."""
    return CELLS[wildcards.cell].constraint or config["cluster"]["constraint"] or None


def cluster_options():
    """Return what every job that goes to the cluster asks for, as the Slurm plugin names it."""
    names = {"slurm_partition": "partition", "slurm_account": "account", "qos": "qos"}
    asked = {name: config["cluster"][key] for name, key in names.items()}
    return {name: value for name, value in asked.items() if value}


def memory_mb(wildcards, attempt):
    """Ask for more memory with every attempt."""
    return config["cluster"]["memory_mb"] * attempt


def runtime_minutes(wildcards, attempt):
    """Ask for more time with every attempt."""
    return config["cluster"]["runtime_minutes"] * attempt
