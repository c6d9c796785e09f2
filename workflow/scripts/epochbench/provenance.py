"""Which code measured, on which machine: what a record says of its own origin."""

import hashlib
import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import psutil

from epochbench import machine
from epochbench.record import Code, Gpu, Machine

# The modules that decide a timing: a change of one of these makes every record stale.
TIMING_MODULES = (
    "device.py",
    "evidence.py",
    "model.py",
    "process.py",
    "roofline.py",
    "shard.py",
    "step.py",
    "stopwatch.py",
    "train.py",
    "work.py",
    "workers.py",
)


@cache
def code_digest() -> str:
    """Return the SHA-256 of the modules that decide a timing."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for name in TIMING_MODULES:
        digest.update(name.encode() + b"\0" + (folder / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def code() -> Code:
    """Return the digest of the measuring code and the commit it comes from, None outside a git checkout."""
    return Code(digest=code_digest(), commit=_commit())


def _commit() -> str | None:
    """Return the checked-out commit, with "+changes" behind it where tracked files were changed."""
    git = ["git", "-C", str(Path(__file__).parent)]
    try:
        commit = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True, stderr=subprocess.DEVNULL).strip()
        changed = subprocess.check_output([*git, "status", "--porcelain", "--untracked-files=no"], text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}+changes" if changed.strip() else commit


def describe_machine(gpu: Gpu | None) -> Machine:
    """Describe this machine as this process sees it."""
    import torch

    return Machine(
        fingerprint=machine.fingerprint(),
        node=platform.node(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpu=machine.cpu_model(),
        cores_usable=machine.usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        sockets=machine.sockets(),
        physical_cores=psutil.cpu_count(logical=False),
        threads_per_core=machine.threads_per_core(),
        numa_nodes=machine.numa_nodes(),
        governor=machine.governor(),
        gpu=gpu,
        python=platform.python_version(),
        torch=str(torch.__version__),  # a text of a class of its own, which no schema knows
        cuda=torch.version.cuda,
        slurm_job=os.environ.get("SLURM_JOB_ID"),
    )
