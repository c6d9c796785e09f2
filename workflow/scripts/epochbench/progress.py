"""How far a whole run is: which records are wanted, which are there, and how long the rest may take."""

import json
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean

from epochbench.files import write_json


def write_plan(path: str | Path, records: list[str]) -> None:
    """Write which records this invocation wants."""
    write_json(path, {"started_at": time.time(), "records": records})


def describe(path: str | Path) -> str:
    """Return a line such as "5 of 9 runs done, about 3 min 20 s left", or nothing where there is no plan.

    A missing run is expected to take as long as the others of its cell, or else as all runs so far on average.
    """
    try:
        wanted = [Path(record) for record in json.loads(Path(path).read_text())["records"]]
    except (OSError, ValueError, KeyError):
        return ""
    seconds = defaultdict(list)
    for record in wanted:
        if record.exists():
            seconds[record.parent].append(json.loads(record.read_text())["wall_seconds"])
    done = [value for values in seconds.values() for value in values]
    missing = [record for record in wanted if not record.exists()]
    if not done or not missing:
        return f"{len(done)} of {len(wanted)} runs done"
    left = sum(mean(seconds.get(record.parent, done)) for record in missing)
    return f"{len(done)} of {len(wanted)} runs done, about {duration(left)} left"


def duration(value: float) -> str:
    """Write a waiting time as people say it: 40 s, 3 min 20 s, 2 h 5 min."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
