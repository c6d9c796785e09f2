"""A PATH of small programs that know little beyond POSIX, as on a BSD or a Mac: busybox, and the awk of the BSDs."""

import shutil
import sys
from pathlib import Path

import pytest

# What the scripts and the Makefile call.
APPLETS = (
    "awk", "cat", "chmod", "cp", "cut", "date", "dirname", "echo", "env", "expr", "false", "find", "grep", "head", "id",
    "ln", "ls", "mkdir", "mktemp", "mv", "printf", "rm", "sed", "sh", "sleep", "sort", "tail", "touch", "tr", "true",
    "uname", "wc",
)  # fmt: skip
OTHERS = ("make", "git")


def small_programs(folder: Path) -> str:
    """Return the PATH of a new folder with these programs alone, and this Python. Skips where one is not installed."""
    busybox, bsd_awk = shutil.which("busybox"), shutil.which("original-awk")
    if not busybox or not bsd_awk:
        pytest.skip("busybox and original-awk are not installed: apt-get install busybox original-awk")
    folder.mkdir()
    for name in APPLETS:
        (folder / name).symlink_to(bsd_awk if name == "awk" else busybox)
    for name in OTHERS:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    for name in ("python", "python3"):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (folder / name).chmod(0o755)
    return str(folder)
