"""What a network's own code may take of a job: seconds until it has answered, and room in the log."""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path

# A network of a billion weights is made in less than a minute.
SECONDS = 120
# Of what a network prints, in letters; enough to see what is wrong.
MOST_LETTERS = 50_000


@contextlib.contextmanager
def ends_within(what: str, files: list[Path], seconds: float | None = None) -> Iterator[None]:
    """End this process with one plain line where the block has not ended in time; a thread cannot be stopped.

    `what` is what takes so long; the line that it stands at is named where it is in one of `files`.
    """
    thread, limit = threading.get_ident(), seconds or SECONDS

    def end() -> None:
        where = place_in(traceback.extract_stack(sys._current_frames()[thread]), files)
        remedy = f"it stands at {where}" if where else "nothing more is known"
        # Past whatever counts and drops what is printed.
        print(f"error: {what} had not ended after {limit:g} s; {remedy}", file=sys.__stderr__, flush=True)
        os._exit(1)

    timer = threading.Timer(limit, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def place_in(stack: traceback.StackSummary, files: list[Path]) -> str | None:
    """Return the file and line of the innermost of some frames that is in one of the files."""
    names = {str(file): file.name for file in files}
    return next((f"{names[f.filename]}, line {f.lineno}" for f in reversed(stack) if f.filename in names), None)


class _Bounded:
    """A text stream that drops what goes beyond a number of letters, and says so once."""

    def __init__(self, stream, letters: int):
        self.stream, self.left = stream, letters

    def write(self, text: str) -> int:
        if self.left > 0:
            self.stream.write(text[: self.left])
            if len(text) > self.left:
                self.stream.write("\n[the rest of what was printed is left out]\n")
            self.left -= len(text)
        return len(text)

    def __getattr__(self, name: str):
        return getattr(self.stream, name)


@contextlib.contextmanager
def bounded_output() -> Iterator[None]:
    """Let what is printed to standard output and error meanwhile fill no disk."""
    with (
        contextlib.redirect_stdout(_Bounded(sys.stdout, MOST_LETTERS)),
        contextlib.redirect_stderr(_Bounded(sys.stderr, MOST_LETTERS)),
    ):
        yield
