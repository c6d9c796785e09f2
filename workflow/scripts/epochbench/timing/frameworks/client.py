"""The other end of worker.py: a framework's process as the job sees it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from epochbench.documents import to_dict
from epochbench.errors import BenchmarkError
from epochbench.timing.frameworks.environments import needed_interpreter
from epochbench.timing.task import Task

SCRIPTS = Path(__file__).parents[3]
# Until a process that was told that there is nothing more has ended.
PATIENCE_SECONDS = 20


class Client:
    """A framework's process, to be asked for one thing after another."""

    def __init__(self, task: Task, process: subprocess.Popen, interpreter: Path):
        self.cell, self.process, self.interpreter = task.cell, process, interpreter

    def ask(self, do: str, **values: object) -> dict:
        """Have something done and return the answer. Raises BenchmarkError with what the process says, or that it died.

        The methods of worker.Session are what can be asked for.
        """
        self._tell({"do": do, **values})
        line = self.process.stdout.readline()
        if not line.endswith("\n"):
            raise BenchmarkError(self._died())
        answer = self._understood(line)
        if "error" in answer:
            raise BenchmarkError(answer["error"])
        return answer

    def _understood(self, line: str) -> dict:
        with contextlib.suppress(ValueError):
            if isinstance(answer := json.loads(line), dict):
                return answer
        raise BenchmarkError(
            f"cell '{self.cell.cell}': {self.interpreter}, the interpreter of framework {self.cell.framework}, answers "
            f"{line[:80]!a}; name a Python that prints nothing of its own"
        )

    def _tell(self, document: dict) -> None:
        with contextlib.suppress(BrokenPipeError):  # then there is no answer either
            self.process.stdin.write(json.dumps(document) + "\n")
            self.process.stdin.flush()

    def _died(self) -> str:
        code = self.process.wait()
        try:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        except ValueError:
            how = f"was ended by signal {-code}"
        why = "; perhaps the memory was full" if code == -signal.SIGKILL else ""
        return (
            f"cell '{self.cell.cell}': the process of framework {self.cell.framework} ({self.interpreter}) {how}{why}; "
            "what it said stands in the log above"
        )


@contextlib.contextmanager
def started(task: Task, console: TextIO | None = None) -> Iterator[Client]:
    """Start the process of a cell's framework for a while; it shows its progress on the console.

    Raises BenchmarkError where the framework is not installed, or where its interpreter cannot be started.
    """
    cell = task.cell
    try:
        interpreter = needed_interpreter(cell.framework)
    except BenchmarkError as error:
        raise BenchmarkError(f"cell '{cell.cell}': {error}") from None
    command = [str(interpreter), "-m", "epochbench.timing.frameworks.worker"]
    # What lies where this is typed, such as a clone of Keras, is not what it should import.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(_paths(interpreter)), "PYTHONSAFEPATH": "1"}
    shown = _descriptor(console)
    command += [] if shown is None else [str(shown)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "pass_fds": [] if shown is None else [shown]}
    try:
        process = subprocess.Popen(command, env=environment, text=True, **pipes)
    except OSError as error:
        raise BenchmarkError(
            f"cell '{cell.cell}': {interpreter}, the interpreter of framework {cell.framework}, cannot be started "
            f"({error.strerror}); run make frameworks"
        ) from error
    try:
        client = Client(task, process, interpreter)
        client._tell(to_dict(task))
        yield client
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):  # it has told all that it had to
            process.stdin.close()
            process.wait(PATIENCE_SECONDS)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _paths(interpreter: Path) -> list[str]:
    """Return where an interpreter finds our package, and where it is this one too, all that is found here.

    Snakemake tells its scripts of folders that it was itself given, and hands on no variable that names them.
    """
    found_here = sys.path if interpreter == Path(sys.executable) else [os.environ.get("PYTHONPATH")]
    return [str(SCRIPTS), *filter(None, found_here)]


def _descriptor(console: TextIO | None) -> int | None:
    """Return the number under which a child can write to the console, None where it is no file of the system's."""
    with contextlib.suppress(AttributeError, OSError):
        return console.fileno()
    return None
