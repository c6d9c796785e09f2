"""What macOS tells of the GPU of an Apple chip, without torch. Not yet run on real hardware."""

import platform
import subprocess
from functools import cache

import psutil

from epochbench.timing.record import Gpu

CHIP = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
SECONDS = 60
# The first macOS that computes in bf16 on this GPU.
BF16_SINCE = 14


def here() -> bool:
    """Tell whether this is macOS on an Apple chip, by an interpreter made for it."""
    return (platform.system(), platform.machine()) == ("Darwin", "arm64")


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the one GPU of an Apple chip, which shares the machine's memory; nothing elsewhere."""
    if not here():
        return ()
    return (Gpu(f"{_chip()} GPU", psutil.virtual_memory().total, f"macOS {platform.mac_ver()[0]}", None),)


def _chip() -> str:
    """Return the chip's name, such as Apple M3 Pro."""
    try:
        done = subprocess.run(CHIP, capture_output=True, text=True, timeout=SECONDS, check=True)
        return done.stdout.strip() or "Apple"
    except (OSError, subprocess.SubprocessError):
        return "Apple"


def has_bf16() -> bool:
    """Tell whether this macOS computes in bf16 on its GPU."""
    return int(platform.mac_ver()[0].partition(".")[0] or 0) >= BF16_SINCE
