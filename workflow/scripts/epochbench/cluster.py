"""What a Slurm cluster has, and what the pipeline would submit there: `make cluster`."""

import argparse
import math
import shlex
import subprocess
import sys
from typing import NamedTuple

from epochbench.errors import BenchmarkError
from epochbench.timing.devices import manufacturers

COLUMNS = "%R|%D|%c|%m|%G|%f|%l|%a"
COMMON = ("--ntasks=1", "--nodes=1", "--exclusive")
# How one GPU is asked for, by the form that its maker's need; and the maker that the config takes for granted.
ONE_GPU = {"gpus": "--gpus=1", "gres": "--gres=gpu:1"}
USUAL_MAKER = next(iter(manufacturers()))


class Nodes(NamedTuple):
    """Nodes of one kind in one partition."""

    partition: str
    count: int
    cores: int
    memory_mb: int
    gpus: dict[str, int]  # number of each model in a node
    features: str
    time_limit: str  # as Slurm writes it: days-hours:minutes:seconds
    available: bool


def nodes_of(text: str) -> list[Nodes]:
    """Return the kinds of nodes from what sinfo printed in COLUMNS. Raises BenchmarkError where it printed no such."""
    rows = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    try:
        return [
            Nodes(
                row[0], int(row[1]), int(row[2].rstrip("+")), int(row[3].rstrip("+")), _gpus(row[4]), row[5], row[6],
                row[7] == "up",
            )
            for row in rows
        ]  # fmt: skip
    except (IndexError, ValueError) as error:
        raise BenchmarkError(f"sinfo printed what nobody here can read: {text[:200]!r}") from error


def _gpus(words: str) -> dict[str, int]:
    """Return models and numbers from Slurm's "gpu:h100:4(S:0-1),..."; a GPU without a model is called "any"."""
    found = {}
    for word in words.split(","):
        parts = word.partition("(")[0].split(":")
        if parts[0] == "gpu" and parts[-1].isdigit():
            found[parts[1] if len(parts) == 3 else "any"] = int(parts[-1])
    return found


def advice(nodes: Nodes, memory_mb: int, minutes: int, maker: str = USUAL_MAKER) -> list[str]:
    """Return the lines on one kind of nodes: what it has, and the command that times on it; `maker` is its GPUs'."""
    gpus = ", ".join(f"{count} x {model}" for model, count in nodes.gpus.items()) or "no GPU"
    state = "" if nodes.available else ", down now"
    least = {"memory_mb": (memory_mb, nodes.memory_mb), "runtime_minutes": (minutes, minutes_of(nodes.time_limit))}
    config = {"partition": nodes.partition} | {key: has for key, (asked, has) in least.items() if has < asked}
    models = [model for model in nodes.gpus if model != "any"]
    config |= {"gpu_model": models[0]} if len(models) > 1 else {}
    config |= {"gpu_manufacturer": maker} if nodes.gpus and maker != USUAL_MAKER else {}
    words = ", ".join(f"{key}: {value}" for key, value in config.items())
    skip = "" if nodes.gpus else " devices='{gpu: skip}'"
    return [
        f"{nodes.partition}: {nodes.count} x {nodes.cores} cores, {nodes.memory_mb} MB, {gpus}, features "
        f"{nodes.features or '(null)'}, at most {nodes.time_limit}{state}",
        f"  snakemake --workflow-profile profiles/slurm --config cluster='{{{words}}}'{skip}",
        *(f"  {line}" for line in _asked(nodes, maker, *(min(pair) for pair in least.values()))),
    ]


def minutes_of(limit: str) -> float:
    """Return Slurm's days-hours:minutes:seconds in whole minutes, infinite for a word such as "infinite"."""
    days, _, clock = limit.rpartition("-")
    if not clock.replace(":", "").isdigit():
        return math.inf
    # From behind: 30:00 are minutes, 1:30:00 hours before them.
    seconds = sum(int(part) * 60**place for place, part in enumerate(reversed(clock.split(":"))))
    return int(days or 0) * 24 * 60 + seconds // 60


def _asked(nodes: Nodes, maker: str, memory_mb: int, minutes: int) -> list[str]:
    """Return what a timing job of each device would be submitted with, and what Slurm says to that."""
    common = [f"--partition={nodes.partition}", *COMMON, f"--mem={memory_mb}", f"--time={minutes}"]
    asked = {"CPU": common} | ({"GPU": [*common, ONE_GPU[manufacturers()[maker].slurm_form]]} if nodes.gpus else {})
    return [f"{device} cells: sbatch {shlex.join(words)}: {verdict(words)}" for device, words in asked.items()]


def verdict(words: list[str]) -> str:
    """Return what Slurm says to a job that is only tested, in a line."""
    command = ["sbatch", "--test-only", *words, "--wrap", "true"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = " ".join(line.removeprefix("sbatch: ") for line in (done.stderr or done.stdout).splitlines()).strip()
    return f"{'accepted' if done.returncode == 0 else 'refused'} ({said[:200]})"


def main() -> None:
    """Print every kind of nodes, the command for it, and whether Slurm would take its jobs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--partition", default="", help="look at this one alone")
    parser.add_argument("--memory-mb", type=int, default=8000, help="cluster.memory_mb")
    parser.add_argument("--minutes", type=int, default=30, help="cluster.runtime_minutes")
    makers = list(manufacturers())
    parser.add_argument("--gpu-manufacturer", choices=makers, default=USUAL_MAKER, help="cluster.gpu_manufacturer")
    asked = parser.parse_args()
    command = ["sinfo", "--exact", "--noheader", f"--format={COLUMNS}"]
    command += [f"--partition={asked.partition}"] if asked.partition else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        sys.exit(f"sinfo: {error.strerror}; this machine submits to no Slurm cluster")
    if done.returncode or not done.stdout.strip():
        sys.exit(f"sinfo: {done.stderr.strip() or f'no partition {asked.partition!r} here'}")
    try:
        kinds = nodes_of(done.stdout)
    except BenchmarkError as error:
        sys.exit(str(error))
    print("Every timing job asks for a whole node (cluster.cpu_cores and cluster.gpu_cores: all).")
    for nodes in kinds:
        print("", *advice(nodes, asked.memory_mb, asked.minutes, asked.gpu_manufacturer), sep="\n")


if __name__ == "__main__":
    main()
