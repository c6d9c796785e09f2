# The cluster: what a job asks of a scheduler, and what a timing job claims of this machine where there is none.
#
# requires: config, CELLS and runs_here of plan.smk
# produces: the functions below, which the rules name under threads and resources

from epochbench.timing.cell import threads_of


def timing_threads(wildcards):
    """Claim every core here, so that nothing else runs beside the clock; ask a cluster for what the cell needs."""
    if runs_here():
        return workflow.cores
    cell = CELLS[wildcards.cell]
    return threads_of(cell.threads, config["cluster"][f"{cell.device}_cores"])


def reference_threads(wildcards):
    """Claim every core here; ask a cluster for as many as a cell with all threads gets."""
    return workflow.cores if runs_here() else config["cluster"]["cpu_cores"]


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
    """Ask for more memory with every attempt."""
    return config["cluster"]["memory_mb"] * attempt


def runtime_minutes(wildcards, attempt):
    """Ask for more time with every attempt."""
    return config["cluster"]["runtime_minutes"] * attempt
