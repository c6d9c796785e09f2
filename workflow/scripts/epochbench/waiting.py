"""Jobs that wait in Slurm's queue, or that it does not take: why, and what to change where one can never start."""

import logging
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from epochbench.progress import duration

# Reasons that no waiting ends, as squeue writes them (Slurm's page "Job reason codes") or sbatch (slurm_errno.c), and
# the keys to change.
ASKED = "cluster.cpu_cores, cluster.gpu_cores or cluster.memory_mb"
NEVER = (
    (r"PartitionConfig|More processors requested.*", f"{ASKED}, or cluster.partition"),
    (r"Memory (specification|required).*", "cluster.memory_mb, or cluster.partition"),
    (r"Requested node configuration.*", f"{ASKED}, a GPU cell's processes or gpu_model, or cluster.partition"),
    (r"Invalid partition.*", "cluster.partition"),
    (r"PartitionTimeLimit|.*Max(Wall|Time).*|Requested time limit.*", "cluster.runtime_minutes, or cluster.partition"),
    (
        r"BadConstraints|Invalid feature.*|Invalid generic resource.*",
        "a cell's constraint or gpu_model, cluster.constraint, cluster.gpu_model, or cluster.partition",
    ),
    (r"(Invalid|Assoc).*Account.*|AccountNotAllowed", "cluster.account"),
    (r"Invalid ?QOS.*|QOSNotAllowed", "cluster.qos"),
    (r"(QOS|Assoc)Max.*Per(Job|Node).*|QOSMin.*|MaxMemPerLimit", f"{ASKED}, or cluster.qos"),
    (r"Job violates accounting/QOS policy.*", f"{ASKED}, cluster.runtime_minutes, or cluster.qos; or fewer --jobs"),
    (r"JobHeld(User|Admin)|DependencyNeverSatisfied", "nothing here: somebody holds them; scontrol release, or ask"),
)
# A new job's reason may be one that the scheduler has not looked at yet; two looks tell.
LOOK_SECONDS, LOOKS = 10.0, 2
FIRST_WORD_SECONDS, NEXT_WORD_SECONDS = 60.0, 600.0
FORMAT = "%i|%T|%r|%k|%j|%Z"
NO_COMMENT = ("", "(null)")
REFUSAL = r"sbatch: error: (?:Batch job submission failed: )?(.+)"


class Waiting(NamedTuple):
    """A job that has not begun."""

    job: str  # Slurm's number
    what: str  # its rule and what it makes
    reason: str  # in Slurm's own word


def waiting_jobs(text: str, folder: str | Path) -> list[Waiting]:
    """Return the jobs of a folder that have not begun, from what squeue printed in FORMAT."""
    rows = [line.strip().split("|", 5) for line in text.splitlines()]
    return [
        Waiting(row[0], _what(row[4] if row[3] in NO_COMMENT else row[3]), row[2])
        for row in rows
        if len(row) == 6 and row[1] == "PENDING" and row[5] == str(folder)
    ]


def _what(words: str) -> str:
    """Return "train cpu cpu-reference 1" from the comment that Snakemake's plugin gives a job, or a rule's name."""
    return " ".join(re.sub(r"^rule_|_wildcards_", " ", words).replace("_", " ").split())


def remedy(reason: str) -> str | None:
    """Return what to change where no waiting ends a reason; None where it may end."""
    return next((keys for pattern, keys in NEVER if re.fullmatch(pattern, reason, re.IGNORECASE)), None)


def _change(reason: str) -> str:
    return f"Slurm says {reason}; change {remedy(reason)} (`make cluster` shows what there is)."


class Watch:
    """Says what waits and why: at once where it is for ever, else now and then."""

    def __init__(self, say: Callable[[str], None], cancel: Callable[[list[str]], None] | None = None):
        """`cancel` ends jobs that can never start; None leaves them."""
        self._say, self._cancel = say, cancel
        self._looks: dict[str, int] = {}
        self._told: set[str] = set()
        self._since: float | None = None
        self._next_word = 0.0

    def look(self, jobs: list[Waiting], now: float) -> None:
        """Take in what waits at a time, in seconds of any clock that goes forward."""
        stuck = [job for job in jobs if remedy(job.reason)]
        self._looks = {job.job: self._looks.get(job.job, 0) + 1 for job in stuck}
        certain = [job for job in stuck if self._looks[job.job] >= LOOKS]
        self._tell_stuck([job for job in certain if job.job not in self._told])
        self._tell_waiting([job for job in jobs if job not in stuck], now)

    def _tell_stuck(self, jobs: list[Waiting]) -> None:
        for reason in dict.fromkeys(job.reason for job in jobs):
            those = [job for job in jobs if job.reason == reason]
            self._say(f"{_named(those)} can never start: {_change(reason)}")
        self._told |= {job.job for job in jobs}
        if jobs and self._cancel:
            self._cancel([job.job for job in jobs])

    def _tell_waiting(self, jobs: list[Waiting], now: float) -> None:
        if not jobs:
            self._since = None
            return
        if self._since is None:
            self._since, self._next_word = now, now + FIRST_WORD_SECONDS
        if now >= self._next_word:
            reasons = ", ".join(dict.fromkeys(job.reason for job in jobs))
            self._say(f"Waiting for {duration(now - self._since)} now: {_named(jobs)}; Slurm says {reasons}.")
            self._next_word = now + NEXT_WORD_SECONDS


def _named(jobs: list[Waiting]) -> str:
    others = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
    return f"{jobs[0].what} (job {jobs[0].job}){others}"


class Refusals(logging.Handler):
    """Says what to change below every error that Snakemake logs since sbatch did not take a job."""

    def __init__(self, say: Callable[[str], None]):
        super().__init__(logging.ERROR)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Look for sbatch's words in a message and in what Snakemake adds to it, a job's error and its rule."""
        text = f"{record.getMessage()}\n{getattr(record, 'rule_msg', '')}"
        reason = next((word for line in re.findall(REFUSAL, text) if remedy(word := line.removesuffix("'."))), None)
        if reason:
            self._say(f"{_what(getattr(record, 'rule_name', 'a job'))} was refused: {_change(reason)}")


def watch_queue(folder: str | Path, *, cancel: bool) -> None:
    """Look at the queue for as long as this process lives, from a thread of its own; nothing where Slurm is not there.

    `cancel` ends jobs that can never start, so that the run fails instead of waiting for ever.
    """
    if shutil.which("squeue") is None:
        return
    watch = Watch(_say, _scancel if cancel else None)
    logging.getLogger("snakemake").addHandler(Refusals(_say))
    command = ["squeue", "--noheader", "--me", f"--format={FORMAT}"]

    def look_on() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode == 0:  # a controller that does not answer now may answer soon
                watch.look(waiting_jobs(done.stdout, folder), time.monotonic())

    threading.Thread(target=look_on, daemon=True).start()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _scancel(jobs: list[str]) -> None:
    subprocess.run(["scancel", *jobs], check=False)
