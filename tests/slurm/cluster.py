"""A throwaway Slurm of one node in a temporary folder: started by the tests, by root or not, and gone with them."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil

COMMANDS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo", "scontrol")
START_SECONDS = 30

CONFIG = """
ClusterName=throwaway
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
SlurmctldPort={controller_port}
SlurmdPort={node_port}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SchedulerParameters=sched_interval=1,batch_sched_delay=0,sched_min_interval=0
KillWait=2
MinJobAge=3600
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory={megabytes} Gres=gpu:fake:1 Feature=fast State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES DefMemPerCPU=500 MaxTime=60 OverSubscribe=NO State=UP
"""


def missing_commands() -> list[str]:
    """Return what of Slurm is not installed."""
    return [command for command in COMMANDS if find(command) is None]


def find(command: str) -> str | None:
    """Find a command, daemons in sbin included."""
    return shutil.which(command, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Cluster:
    """The running cluster: its folder, and the environment in which its commands find it."""

    def __init__(self, folder: Path, cores: int):
        self.folder, self.cores = folder, cores
        self.host = socket.gethostname().split(".")[0]
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self.environment["PATH"] = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.daemons = []

    def configure(self) -> None:
        for part in ("state", "spool", "bin"):
            (self.folder / part).mkdir(parents=True)
        values = {
            "folder": self.folder,
            "host": self.host,
            "user": getpass.getuser(),
            "cores": self.cores,
            "megabytes": psutil.virtual_memory().total // 2**20 - 512,
            "controller_port": free_port(),
            "node_port": free_port(),
        }
        (self.folder / "slurm.conf").write_text(CONFIG.format(**values))
        (self.folder / "gres.conf").write_text("Name=gpu Type=fake File=/dev/null\n")
        # The plugin's job step drops SLURM_CONF before its inner srun, which would then look in /etc.
        wrapper = self.folder / "bin" / "srun"
        wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={self.folder}/slurm.conf exec {find("srun")} "$@"\n')
        wrapper.chmod(0o755)

    def start(self) -> None:
        for daemon in ("slurmctld", "slurmd"):
            with (self.folder / f"{daemon}.out").open("w") as output:
                command = [find(daemon), "-D"]
                process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
            self.daemons.append(process)
        until = time.monotonic() + START_SECONDS
        while "idle" not in self.command("sinfo", "--noheader", "--format=%T", check=False):
            if time.monotonic() > until or any(daemon.poll() is not None for daemon in self.daemons):
                raise RuntimeError("Slurm did not start:\n" + self.logs())
            time.sleep(0.1)

    def stop(self) -> None:
        self.command("scancel", "--full", f"--user={getpass.getuser()}", check=False)
        for daemon in reversed(self.daemons):
            daemon.send_signal(signal.SIGTERM)
        for daemon in self.daemons:
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
        for process in self.left_over():
            process.kill()

    def left_over(self) -> list[psutil.Process]:
        """Return the processes of this cluster that still run, step daemons included."""
        return [
            process
            for process in psutil.process_iter(["environ", "name"])
            if process.info["name"].startswith("slurm")
            and (process.info["environ"] or {}).get("SLURM_CONF") == self.environment["SLURM_CONF"]
        ]

    def command(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, check=check)
        return done.stdout

    def logs(self) -> str:
        texts = [path.read_text()[-3000:] for path in self.folder.glob("slurm*.log")]
        return "\n".join(texts + [path.read_text()[-3000:] for path in self.folder.glob("slurm*.out")])

    def jobs(self) -> list[dict]:
        """Return what Slurm still remembers of every job: name, state, reason, and its whole allocation."""
        found = []
        for block in self.command("scontrol", "--oneliner", "show", "jobs", "--details").splitlines():
            fields = [word.split("=", 1) for word in block.split() if "=" in word]
            found.append(dict(fields))
        return [job for job in found if "JobId" in job]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def cluster(folder: Path, cores: int):
    """Run a cluster for the time of the block; no daemon of it outlives the block."""
    made = Cluster(folder, cores)
    made.configure()
    try:
        made.start()
        yield made
    finally:
        made.stop()
