"""What every stage's job shares: its log, its place on the machine, and how it tells of a mistake."""

import contextlib
import os
import sys
import traceback

from epochbench.errors import BenchmarkError
from epochbench.process import machine_lock


@contextlib.contextmanager
def stage(log, exclusive: bool = False):
    """Run one job: its output goes to the log, it holds the machine, and a user's mistake ends it in plain words.

    Yields the console, a text stream for progress, and the seconds that were waited for the machine. A BenchmarkError
    ends the process with status 1 and its message as the log's last lines; any other error leaves its traceback there.
    """
    with _redirected(log) as console:
        try:
            with machine_lock(
                exclusive, lambda: print("waiting for another job on this machine ...", file=console)
            ) as waited:
                yield console, waited
        except BenchmarkError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            sys.exit(1)
        except Exception:
            traceback.print_exc()
            sys.stderr.flush()
            sys.exit(1)


@contextlib.contextmanager
def _redirected(log):
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
        sys.stdout.flush()
        sys.stderr.flush()
        console.close()
