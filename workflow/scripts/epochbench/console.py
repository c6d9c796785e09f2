"""What every job shares: its log, its turn on the machine, and how it reports an error."""

import contextlib
import errno
import os
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from epochbench.errors import BenchmarkError
from epochbench.timing.process import end_with_snakemake, machine_lock


@contextlib.contextmanager
def stage(log: str | Path, exclusive: bool = False) -> Iterator[tuple[TextIO, float]]:
    """Run one job: its output goes to the log, it holds the machine, and it ends with Snakemake.

    Yields the console, a text stream for progress, and the seconds that were waited for the machine. A BenchmarkError
    ends the process with status 1 and its message as the log's last lines; any other error leaves its traceback there.
    """
    with _redirected(log) as console:
        end_with_snakemake()
        try:
            with machine_lock(
                exclusive, lambda: print("waiting for another job on this machine ...", file=console)
            ) as waited:
                yield console, waited
        except BenchmarkError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        except OSError as error:
            _tell_of_the_disk(error, console)
            sys.exit(1)
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            sys.exit(1)


REMEDIES = {
    errno.ENOSPC: "free some space and run again; what is finished is kept",
    errno.EDQUOT: "free some of your quota and run again; what is finished is kept",
    errno.EROFS: "make it writable and run again; what is finished is kept",
    errno.EACCES: "give yourself the right to write there and run again",
}


def _tell_of_the_disk(error: OSError, console: TextIO) -> None:
    """Tell on the console what the log, which lies on the same disk, may have no room for."""
    if error.errno not in REMEDIES:
        traceback.print_exc()
        return
    where = f"{error.filename}: " if error.filename else ""
    print(f"error: {where}{error.strerror}; {REMEDIES[error.errno]}", file=console)


@contextlib.contextmanager
def _redirected(log: str | Path) -> Iterator[TextIO]:
    """Send standard output and error to the log, those of libraries and children too; yield the real console."""
    sys.stdout.flush()
    sys.stderr.flush()
    console = os.fdopen(os.dup(2), "w", buffering=1)
    with open(log, "w", buffering=1) as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield console
    finally:
        with contextlib.suppress(OSError):  # a full disk has no room for a log
            sys.stdout.flush()
            sys.stderr.flush()
        console.close()
