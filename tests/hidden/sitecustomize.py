"""Hide from Python what other systems lack, as EPOCHBENCH_HIDE names it: proc, affinity, mallopt, nvml.

Python imports a module of this name at its start from the PYTHONPATH, where `pytest --hide` puts this folder, so that
every process of a test has it, Snakemake's jobs included. A process whose test sets a PYTHONPATH of its own has not.
"""

import collections
import ctypes
import importlib.abc
import importlib.machinery
import os
import platform
import re
import sys

# Files that only Linux has. Packages that read some of them have other ways elsewhere; so they may.
LINUX_ALONE = re.compile(r"(/proc|/sys)(/|$)|(/etc|/var/lib/dbus)/machine-id$")
EVENTS = ("open", "os.listdir", "os.scandir")
# The kinds of CPU time that psutil tells on macOS.
KINDS_OF_TIME = ("user", "nice", "system", "idle")
DEEPEST = 12  # calls between a reader and the kernel: pathlib and glob are a few
PSUTIL, EPOCHBENCH = (f"{os.sep}{name}{os.sep}" for name in ("psutil", "epochbench"))


def _hidden(asked: object, depth: int) -> bool:
    """Tell whether only Linux has what is asked for, and epochbench asks: neither psutil on its behalf, nor others."""
    path = os.fspath(asked) if isinstance(asked, str | os.PathLike) else None
    if not isinstance(path, str) or not LINUX_ALONE.match(path):
        return False
    frame = sys._getframe(depth)
    for _ in range(DEEPEST):
        if frame is None or PSUTIL in frame.f_code.co_filename:
            return False
        if EPOCHBENCH in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False


def _not_there(path: object) -> FileNotFoundError:
    return FileNotFoundError(2, "No such file or directory", os.fspath(path))


def _watch(event: str, arguments: tuple) -> None:
    if event in EVENTS and _hidden(arguments[0], 2):
        raise _not_there(arguments[0])


def hide_proc() -> None:
    """Hide Linux' own files from epochbench, and the CPU times that psutil has on Linux alone."""
    sys.addaudithook(_watch)
    honest_stat = os.stat

    def stat(path, *options, **further):
        if _hidden(path, 2):
            raise _not_there(path)
        return honest_stat(path, *options, **further)

    os.stat = stat  # which audits nothing
    try:
        import psutil
    except ModuleNotFoundError:  # an interpreter that is none of ours
        return
    honest_times = psutil.cpu_times
    shown = collections.namedtuple("scputimes", KINDS_OF_TIME)

    def cpu_times(percpu=False):
        every = [shown(*(getattr(one, kind) for kind in KINDS_OF_TIME)) for one in honest_times(percpu=True)]
        return every if percpu else shown(*map(sum, zip(*every, strict=True)))

    psutil.cpu_times = cpu_times


def hide_affinity() -> None:
    """Hide how a process is pinned to cores."""
    for name in ("sched_getaffinity", "sched_setaffinity"):
        if hasattr(os, name):
            delattr(os, name)


def hide_mallopt() -> None:
    """Hide that the C library is glibc, and its settings."""
    honest = ctypes.CDLL.__getattr__

    def look_up(library, name):
        if name == "mallopt":
            raise AttributeError(f"symbol not found: {name}")
        return honest(library, name)

    ctypes.CDLL.__getattr__ = look_up
    platform.libc_ver = lambda *_, **__: ("", "")


class _WithoutNvml(importlib.abc.MetaPathFinder):
    """Find the module of NVML only where a test put one of its own."""

    def find_spec(self, name, path=None, target=None):
        if name != "pynvml":
            return None
        elsewhere = [folder for folder in sys.path if "site-packages" not in folder]
        spec = importlib.machinery.PathFinder.find_spec(name, elsewhere)
        if spec is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return spec


def hide_nvml() -> None:
    """Hide the bindings of NVIDIA's management library."""
    sys.meta_path.insert(0, _WithoutNvml())


HIDE = {"proc": hide_proc, "affinity": hide_affinity, "mallopt": hide_mallopt, "nvml": hide_nvml}
for wanted in filter(None, os.environ.get("EPOCHBENCH_HIDE", "").split(",")):
    HIDE[wanted]()
