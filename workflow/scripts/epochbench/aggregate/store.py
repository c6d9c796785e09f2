"""The summary on the disk: validated JSON."""

import json
from functools import cache
from pathlib import Path

from epochbench.aggregate.summary import Summary
from epochbench.columns import record_schema
from epochbench.documents import check, from_dict, to_dict
from epochbench.errors import BenchmarkError
from epochbench.files import write_json
from epochbench.schemas import load_schema


def write_summary(path: str | Path, summary: Summary) -> None:
    """Validate a summary and write it as JSON, whole or not at all."""
    document = to_dict(summary)
    _validate(document, path)
    write_json(path, document)


def read_summary(path: str | Path) -> Summary:
    """Read a summary. Raises BenchmarkError, naming the file and what is wrong, where it is none."""
    try:
        document = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable ({error}); delete it and run again") from error
    _validate(document, path)
    return from_dict(Summary, document)


def _validate(document: object, path: str | Path) -> None:
    check(document, schema, f"{path}: not a valid summary; delete it and run again")


@cache
def schema() -> dict:
    """Return the schema of a summary; a cell's settings are derived from the cell's columns."""
    written = load_schema("summary")
    return written | {"$defs": written["$defs"] | {"settings_of_cell": record_schema()}}
