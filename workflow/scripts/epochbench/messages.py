"""What the Snakefile's handlers say at the end of a run, with the standard library alone.

They run in Snakemake's own process, which never imports pandas or matplotlib: what draws is a process of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

LAST_WORDS = 500
_told: set[int] = set()


def is_news(key: int) -> bool:
    """Tell whether this process asks about a key for the first time, and remember that it has."""
    news = key not in _told
    _told.add(key)
    return news


def answer_lines(summary: str | Path) -> list[str]:
    """Return the lines of the answer in a summary (a JSON file); none where there is no summary."""
    path = Path(summary)
    lines = json.loads(path.read_text()).get("answer", []) if path.exists() else []
    return [line for line in lines if line]


def last_words(log: str | Path) -> str:
    """Return how a run's log ends: its plain error, or its last line."""
    try:
        lines = _lines(Path(log).read_text(errors="replace"))
    except OSError:
        return "it wrote no log"
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    text = " ".join(lines[errors[-1] :]).removeprefix("error: ") if errors else (lines or ["its log is empty"])[-1]
    return text[:LAST_WORDS]


def is_newer(path: str | Path, *others: str | Path) -> bool:
    """Tell whether a file was written after all the others; one that is missing counts as not newer."""
    try:
        return Path(path).stat().st_mtime_ns >= max(Path(other).stat().st_mtime_ns for other in others)
    except OSError:
        return False


def draw(script: str | Path, arguments: dict) -> str | None:
    """Run a script that draws, with its arguments as JSON on its standard input.

    Returns None where it succeeded, or its last line.
    """
    command = [sys.executable, str(script)]
    done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return (_lines(done.stderr) or [f"it ended with status {done.returncode}"])[-1][:LAST_WORDS]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]
