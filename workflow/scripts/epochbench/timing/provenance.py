"""Which code measured, on which machine: what a record says of its own origin."""

import hashlib
import os
import platform
import re
import subprocess
from functools import cache
from pathlib import Path

import psutil

from epochbench import networks
from epochbench.timing.devices import accelerators
from epochbench.timing.machine import host
from epochbench.timing.record import Code, Gpu, Machine

FOLDER = Path(__file__).parent
# Above workflow/.
HOME = FOLDER.parents[3]
UNPACKED = re.compile("[0-9a-f]{40}")
# What this folder calls elsewhere, and what decides a number there: which way a network goes by default, which shards
# are read, what becomes of a task on its way to a worker.
BESIDE = ("documents.py", "foreign.py", "networks/__init__.py", "shard/manifest.py")


@cache
def code_digest(model: str) -> str:
    """Return the SHA-256 of what decides a cell's timing: this folder, what it calls, and its network's own files."""
    return _digest([*_of_every_network(), *networks.contents(model)])


@cache
def calibration_digest() -> str:
    """Return the SHA-256 of what decides a calibration: the same without any network's own files."""
    return _digest(_of_every_network())


def _of_every_network() -> list[tuple[str, bytes]]:
    """Return the names below the package and the contents of the files that time every network."""
    paths = [*sorted(FOLDER.rglob("*.py")), *(FOLDER.parent / name for name in BESIDE)]
    return [(str(path.relative_to(FOLDER.parent)), path.read_bytes()) for path in paths]


def _digest(files: list[tuple[str, bytes]]) -> str:
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()[:16]


def code(model: str) -> Code:
    """Return the digest of the measuring code and the commit it comes from, None outside a git checkout."""
    return Code(digest=code_digest(model), commit=_commit())


def _commit() -> str | None:
    """Return the checked-out commit, with "+changes" behind it where tracked files were changed.

    What rules/source.smk unpacked from a git host lies in a folder that has the commit's name.
    """
    if UNPACKED.fullmatch(HOME.name):
        return HOME.name
    git = ["git", "-C", str(FOLDER)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "--untracked-files=no"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed.strip() else commit


def fingerprint() -> str:
    """Return one short word for this machine: its own identity, host name, processor, cores, memory, GPUs.

    Two nodes may share a name and a processor; the identity that the system was installed with tells them apart.
    """
    gigabytes = round(psutil.virtual_memory().total / 2**30)
    facts = [
        host.machine_identity(),
        platform.node(),
        platform.machine(),
        host.cpu_model(),
        # The machine's own cores, of which one job may have more than the next.
        str(os.cpu_count()),
        str(gigabytes),
    ]
    facts += [f"{gpu.name} {gpu.memory_bytes}" for gpu in accelerators()]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]


def describe_machine(gpu: Gpu | None) -> Machine:
    """Describe this machine as this process sees it."""
    import torch

    return Machine(
        fingerprint=fingerprint(),
        node=platform.node(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=host.cpu_model(),
        cores_usable=host.usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        sockets=host.sockets(),
        physical_cores=psutil.cpu_count(logical=False),
        threads_per_core=host.threads_per_core(),
        numa_nodes=host.numa_nodes(),
        governor=host.governor(),
        gpu=gpu,
        python=platform.python_version(),
        torch=str(torch.__version__),  # a text of a class of its own, which no schema knows
        cuda=torch.version.cuda,
        slurm_job=os.environ.get("SLURM_JOB_ID"),
    )
