"""NVIDIA GPUs where the package for NVML is missing or fails: by nvidia-smi, which comes with the driver."""

import subprocess
from functools import cache
from pathlib import Path

import psutil

from epochbench.timing.record import Gpu

# A card can only be used through one of these: the driver's own, and that of Linux under Windows.
DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
COMMAND = ["nvidia-smi", "--query-gpu=uuid,memory.total,driver_version,name", "--format=csv,noheader,nounits"]
NONE_THERE = "No devices were found"
UNTOLD = "[N/A]"
SECONDS = 60


@cache
def look() -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs that nvidia-smi lists, and in words why it could not; without a device file there is none."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS, check=False)
        said = done.stdout.strip()
        if done.returncode == 0 and NONE_THERE not in said:
            return tuple(_gpu(line) for line in said.splitlines()), None
        reason = None if NONE_THERE in said else (said or done.stderr.strip() or f"status {done.returncode}")[:300]
    except subprocess.TimeoutExpired:
        reason = f"no answer in {SECONDS} s"
    except (OSError, ValueError) as error:
        reason = str(error)[:300]
    return (), reason if any(path.exists() for path in DEVICE_FILES) else None


def _gpu(line: str) -> Gpu:
    """Return the card of a line of nvidia-smi's, whose memory is in MiB, and not told where it is the machine's own."""
    uuid, mebibytes, driver, name = line.split(", ", 3)
    return Gpu(name, psutil.virtual_memory().total if mebibytes == UNTOLD else int(mebibytes) * 2**20, driver, uuid)
