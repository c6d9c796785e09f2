"""Records on the disk: validated JSON."""

import json
import math
from functools import cache
from pathlib import Path
from typing import NoReturn

from epochbench.columns import record_schema
from epochbench.documents import check, from_dict, to_dict
from epochbench.errors import BenchmarkError
from epochbench.files import write_json
from epochbench.records.migrate import migrate
from epochbench.timing.record import Record

MAX_RECORD_BYTES = 4 * 2**20


def write_record(path: str | Path, record: Record) -> None:
    """Validate a record and write it as JSON, whole or not at all."""
    document = to_dict(record)
    _validate(document, path)
    write_json(path, document)


def read_record(path: str | Path) -> Record:
    """Read and validate a record.

    Raises BenchmarkError, naming the file and every key that is wrong, for anything that is no valid record.
    """
    try:
        content = _read_bounded(Path(path))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable as a record ({error}); delete it and run again") from error
    return parse_record(content, path)


def _read_bounded(path: Path) -> bytes:
    """Read a file that may hold anything; no record is larger than a few hundred kilobytes."""
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise ValueError(f"larger than {MAX_RECORD_BYTES // 2**20} MiB")
    return path.read_bytes()


def parse_record(content: bytes, path: str | Path) -> Record:
    """Parse and validate a record; `path` is what an error names."""
    return to_record(parse_json(content, path), path)


def parse_json(content: bytes, path: str | Path) -> object:
    """Parse what should be a record; numbers that JSON does not have are refused."""
    try:
        return json.loads(content, parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{path}: not readable as a record ({error}); delete it and run again") from error


def to_record(document: object, path: str | Path) -> Record:
    """Return the record that a parsed file holds, brought to this version and validated."""
    document = migrate(document, path)
    _validate(document, path)
    return from_dict(Record, document)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _finite(text: str) -> float:
    """Return a number; 1e999 is read as infinity, which is as little a JSON number as the word is."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value


def _validate(document: object, path: str | Path) -> None:
    complaint = f"{path}: not a valid record; delete it and run again"
    check(document, schema, complaint)
    times = document["timing"]
    if times["event_seconds"] is not None and len(times["event_seconds"]) != len(times["epoch_seconds"]):
        raise BenchmarkError(f"{complaint}\n  timing.event_seconds: not one for each of timing.epoch_seconds")


@cache
def schema() -> dict:
    """Return the schema of a record; the part on its cell is derived from the cell's columns."""
    # Imported here, since every job imports this module and most read no record.
    from epochbench.schemas import load_schema

    written = load_schema("record")
    return written | {"properties": written["properties"] | {"cell": record_schema()}}
