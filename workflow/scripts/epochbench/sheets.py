"""The sheets: cells to time and published results, every mistake found at once, its row named."""

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from epochbench.columns import LABEL, contradictions, sheet_schema
from epochbench.errors import BenchmarkError
from epochbench.foreign import is_here
from epochbench.schemas import mistakes, reason
from epochbench.timing.cell import DEFAULTS, REQUIRED, Cell, with_defaults
from epochbench.unseen import visible

PUBLISHED_COLUMNS = ("label", "device", "hardware", "seconds", "images", "statistic", "source")


def read_cells(path: str | Path, columns: dict | None = None, files_here: bool = True) -> list[Cell]:
    """Read the sheet of cells; `columns` has what rows hold in a column that they leave empty.

    Where `files_here` is false, files of users that it names may still have to come.

    Raises BenchmarkError with a line for each mistake, its row named.
    """
    cells, problems = parse_cells(path, columns, files_here)
    if problems:
        raise BenchmarkError("\n".join(problems))
    return cells


def read_labels(path: str | Path) -> dict[str, str]:
    """Return the cells that a valid sheet gives a label, by their names."""
    return {row["cell"]: row[LABEL] for row in _read_sheet(path, REQUIRED)[0] if LABEL in row}


def other_frameworks(cells: Iterable[Cell]) -> dict[str, dict[str, str]]:
    """Return the frameworks of cells that torch does not train, by device and the cell's name."""
    found = {}
    for cell in cells:
        if cell.framework != DEFAULTS["framework"]:
            found.setdefault(cell.device, {})[cell.cell] = cell.framework
    return found


def read_published(path: str | Path) -> list[dict]:
    """Read the published results: a dictionary a row, `seconds` a float and `images` an int."""
    rows, problems = parse_published(path)
    if problems:
        raise BenchmarkError("\n".join(problems))
    return rows


def _read_sheet(path, required: tuple[str, ...]) -> tuple[list[dict], list[str]]:
    """Read a TSV: its rows as dictionaries without the empty fields, and what is wrong with it as a whole."""
    name = Path(path).name
    try:
        # A line ends where an editor ends it: splitlines() would know further characters.
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text, or not a name that a file can have"
        return [], [f"{ascii(str(path)[:200])[1:-1]}: not readable ({reason})"]
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    header = lines[0].split("\t") if lines else []
    if len(header) == 1 and "," in header[0]:
        return [], [f"{name}: its columns are separated by commas; save it with tabs (TSV)"]
    problems = [f"{name}: column '{column}' is missing" for column in required if column not in header]
    problems += [f"{name}: column '{column}' occurs twice" for column in set(header) if header.count(column) > 1]
    if not problems and len(lines) < 2:
        problems.append(f"{name}: has no rows")
    if problems:
        return [], problems
    rows = []
    for number, fields_ in enumerate(csv.reader(lines[1:], delimiter="\t"), start=1):
        if len(fields_) > len(header):
            problems.append(f"{name}, row {number}: has {len(fields_)} fields under {len(header)} columns")
        values = {key: value.strip() for key, value in zip(header, fields_, strict=False)}
        rows.append({key: value for key, value in values.items() if value})
    return rows, problems


def parse_cells(path: str | Path, columns: dict | None = None, files_here: bool = True) -> tuple[list[Cell], list[str]]:
    """Return the valid cells of a sheet, and a line for each mistake in it; the others are those of `read_cells`."""
    rows, problems = _read_sheet(path, REQUIRED)
    name = Path(path).name
    cells, schema = [], sheet_schema()
    for number, row in enumerate(rows, start=1):
        where = f"{name}, row '{row.get('cell', number)}'"
        given = {key: _number(str(value)) for key, value in ((columns or {}) | row).items()}
        values = with_defaults(given) | {"cell": row.get("cell", "")}
        values |= {LABEL: row[LABEL]} if LABEL in row else {}
        errors = [f"{where}: {_cell_reason(error)}" for error in mistakes(schema, values)]
        if not errors:
            cell = Cell(**{name: value for name, value in values.items() if name != LABEL})
            judged = files_here or is_here(cell.model)
            errors = [f"{where}: {reason}" for reason in contradictions(cell)] if judged else []
            cells.append(cell)
        problems = problems + errors
    names = [cell.cell for cell in cells]
    twice = sorted({cell for cell in names if names.count(cell) > 1})
    return cells, problems + [f"{name}, row '{cell}': the name occurs {names.count(cell)} times" for cell in twice]


def _cell_reason(error) -> str:
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = ", ".join(f"'{key}'" for key in error.instance if key not in known)
        return f"unknown column {unknown}; known are {', '.join(known)}"
    if error.validator == "required":
        return error.message
    return f"{error.absolute_path[0]} {reason(error)}"


def _number(text: str):
    """Return the whole number a field holds, or its text."""
    return int(text) if re.fullmatch(r"[+-]?\d{1,12}", text) else text


def parse_published(path: str | Path) -> tuple[list[dict], list[str]]:
    """Return the rows of the published results, and a line for each mistake in them."""
    rows, problems = _read_sheet(path, PUBLISHED_COLUMNS)
    for number, row in enumerate(rows, start=1):
        where = f"{Path(path).name}, row '{visible(row.get('label', str(number)))}'"
        missing = [column for column in PUBLISHED_COLUMNS if column not in row]
        problems += [
            f"{where}: {column} {text!r} has a character that cannot be seen; type it anew"
            for column, text in row.items()
            if text != visible(text)
        ]
        problems += [f"{where}: {column} is empty" for column in missing]
        for column, convert in (("seconds", float), ("images", int)):
            try:
                row[column] = convert(row.get(column, "1"))
                if not 0 < row[column] < float("inf"):
                    raise ValueError
            except ValueError:
                problems.append(f"{where}: {column} '{row[column]}' is no positive number")
    return rows, problems
