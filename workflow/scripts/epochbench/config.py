"""The config and its sheets: defaults filled in, and every mistake found at once, a plain line each."""

import csv
import math
import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from epochbench.errors import BenchmarkError
from epochbench.record import Cell, Protocol

SCHEMAS = Path(__file__).parents[2] / "schemas"
PUBLISHED_COLUMNS = ("label", "device", "hardware", "seconds", "images", "statistic", "source")
SCALARS = ("integer", "number", "boolean")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


def resolve_config(config: dict) -> dict:
    """Return the config with every default filled in.

    Raises BenchmarkError with a line for each mistake: the key or the row, its value, and what is allowed.
    """
    resolved = _with_defaults(_schema("config"), config)
    problems = [_explain(error) for error in _validator("config").iter_errors(resolved)] + _not_finite(resolved)
    if not problems:
        problems = _check_dataset(resolved["dataset"]) + _check_timing(resolved["timing"])
        problems += _check_sheets(resolved)
        problems += _missing_files("results.import", resolved["results"]["import"])
    if problems:
        raise BenchmarkError("The config has mistakes; nothing was run:\n  " + "\n  ".join(problems))
    return resolved


def read_cells(path) -> list[Cell]:
    """Read the sheet of cells. Raises BenchmarkError with a line for each mistake, its row named."""
    cells, problems = _parse_cells(path)
    if problems:
        raise BenchmarkError("\n".join(problems))
    return cells


def read_published(path) -> list[dict]:
    """Read the published results: a dictionary a row, `seconds` a float and `images` an int."""
    rows, problems = _parse_published(path)
    if problems:
        raise BenchmarkError("\n".join(problems))
    return rows


def is_url(archive: str) -> bool:
    """Tell an address from a local path."""
    return re.match(r"(?i)https?://", archive) is not None


def protocol(config: dict) -> Protocol:
    """Return what a run must know of the config."""
    known = {field.name for field in fields(Protocol)}
    values = config["timing"] | config["optimizer"]
    return Protocol(**{key: value for key, value in values.items() if key in known})


@cache
def _schema(name: str) -> dict:
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text())


@cache
def _validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(_schema(name))


def _with_defaults(schema: dict, value):
    """Return a copy with the schema's defaults, as deep as there are objects; what is not an object stays."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled and part.get("type") == "object":
            filled[key] = _with_defaults(part, {} if filled[key] is None else filled[key])
        elif isinstance(filled.get(key), str) and part.get("type") in SCALARS:
            filled[key] = _read_scalar(filled[key])
        if part.get("type") == "integer" and isinstance(filled.get(key), float) and filled[key].is_integer():
            filled[key] = int(filled[key])  # 3.0 is a whole number to the schema, but not to range()
    return filled


def _read_scalar(text: str):
    """Read a number or truth value as YAML would: Snakemake hands on those inside `--config key='{...}'` as text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float) else text


def _explain(error) -> str:
    """Put one schema error in a line of the user's words."""
    key = ".".join(map(str, error.absolute_path))
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [name for name in error.instance if name not in known]
        names = ", ".join(f"'{key}.{name}'" if key else f"'{name}'" for name in unknown)
        return f"{names}: unknown key; known here are {', '.join(known)}"
    return f"{key or 'the config'}: {_reason(error)}"


def _reason(error) -> str:
    value, rule = error.instance, error.validator_value
    shown = f"'{value}'" if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    if error.validator == "type" and isinstance(value, str) and NUMBER.fullmatch(value):
        return f"{shown} is text; YAML reads a number only with a point and a sign, such as 1.0e-3"
    return {
        "enum": lambda: f"{shown} is not one of {', '.join(map(str, rule))}",
        "type": lambda: f"{shown} is not of type {rule if isinstance(rule, str) else ' or '.join(rule)}",
        "minimum": lambda: f"{shown} is less than {rule}",
        "maximum": lambda: f"{shown} is more than {rule}",
        "exclusiveMinimum": lambda: f"{shown} must be more than {rule}",
        "exclusiveMaximum": lambda: f"{shown} must be less than {rule}",
        "pattern": lambda: f"{shown} does not look as it must: {error.schema.get('description', rule)}",
        "anyOf": lambda: f"{shown} is neither a whole number from 1 on nor one of all, 1/2, 1/4, 1/8",
        "required": lambda: error.message,
    }.get(error.validator, lambda: error.message[:200])()


def _check_dataset(dataset: dict) -> list[str]:
    archive, sha256 = dataset["archive"], dataset["sha256"]
    problems = []
    if archive and not sha256:
        problems.append(f"dataset.sha256: empty, but dataset.archive is '{archive}'; name the checksum it must have")
    if sha256 and not archive:
        problems.append("dataset.sha256: given without dataset.archive; name the archive, or leave the checksum out")
    if archive and not is_url(archive) and not _is_file(archive):
        problems.append(f"dataset.archive: there is no file '{archive}'")
    if archive and dataset["source"] == "synthetic":
        problems.append(f"dataset.archive: '{archive}' is named, but dataset.source is synthetic; choose one")
    return problems


def _missing_files(key: str, paths: list[str]) -> list[str]:
    return [f"{key}: there is no file '{path}'" for path in paths if not _is_file(path)]


def _is_file(path: str) -> bool:
    """Tell whether a path leads to a file; a path that cannot be one (a NUL, too long, nobody's home) does not."""
    try:
        return Path(path).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _not_finite(value, key: str = "") -> list[str]:
    """Return a line for each NaN or infinity, which compare with no minimum or maximum."""
    if isinstance(value, dict):
        return [line for name, part in value.items() for line in _not_finite(part, f"{key}.{name}".lstrip("."))]
    wrong = isinstance(value, float) and not math.isfinite(value)
    return [f"{key}: {value} is no finite number"] if wrong else []


def _check_timing(timing: dict) -> list[str]:
    pairs = (("min_epochs", "max_epochs"), ("min_seconds", "max_seconds"))
    return [
        f"timing.{low}: {timing[low]} is more than timing.{high}, {timing[high]}"
        for low, high in pairs
        if timing[low] > timing[high]
    ]


def _check_sheets(config: dict) -> list[str]:
    cells, problems = _parse_cells(config["cells"])
    problems = problems + _parse_published(config["published"])[1]
    baseline = config["statistics"]["baseline"]
    if not problems and baseline not in [cell.cell for cell in cells]:
        names = ", ".join(cell.cell for cell in cells)
        problems.append(f"statistics.baseline: '{baseline}' is no cell of {config['cells']}; there are {names}")
    return problems


def _read_sheet(path, required: tuple[str, ...]) -> tuple[list[dict], list[str]]:
    """Read a TSV: its rows as dictionaries without the empty fields, and what is wrong with it as a whole."""
    name = Path(path).name
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
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


def _parse_cells(path) -> tuple[list[Cell], list[str]]:
    rows, problems = _read_sheet(path, ("cell", "device"))
    name = Path(path).name
    cells = []
    for number, row in enumerate(rows, start=1):
        where = f"{name}, row '{row.get('cell', number)}'"
        values = _with_defaults(_schema("cells"), {key: _number(value) for key, value in row.items()})
        values["cell"] = str(row.get("cell", ""))
        errors = [f"{where}: {_cell_reason(error)}" for error in _validator("cells").iter_errors(values)]
        if not errors:
            threads = None if values["threads"] == "all" else values["threads"]
            cell = Cell(**(values | {"threads": threads}))
            errors = [f"{where}: {reason}" for reason in contradictions(cell)]
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
    return f"{error.absolute_path[0]} {_reason(error)}"


def _number(text: str):
    """Return the whole number a field holds, or its text."""
    return int(text) if re.fullmatch(r"[+-]?\d{1,12}", text) else text


def contradictions(cell: Cell) -> list[str]:
    """Return what makes no sense in one cell, a plain reason each."""
    share = cell.batch_size // cell.processes
    cpu, gpu = cell.device == "cpu", cell.device == "gpu"
    graph, opaque = cell.captures_graph, cell.memory_format == "onednn"
    rules = (
        (cpu and cell.precision in ("tf32", "fp16"), f"precision {cell.precision} is a GPU's; a CPU has fp32 or bf16"),
        (cpu and graph, f"execution {cell.execution} is a GPU's; a CPU has eager or compile"),
        (cpu and cell.autotune == "on", "autotune on is cuDNN's, so a GPU's; leave it off"),
        (cpu and cell.gpu_model is not None, f"gpu_model {cell.gpu_model} asks for a GPU; use constraint"),
        (gpu and opaque, "memory_format onednn is a CPU's; a GPU has contiguous or channels_last"),
        (
            opaque and (cell.precision, cell.execution) != ("fp32", "eager"),
            f"memory_format onednn with precision {cell.precision} and execution {cell.execution} is not supported; "
            "it takes fp32 and eager",
        ),
        (
            opaque and cell.layers == "space_to_depth",
            "layers space_to_depth needs memory_format contiguous or channels_last",
        ),
        (
            cell.model != "lenet" and (opaque or cell.layers != "published"),
            f"model {cell.model} has only layers published, and memory_format contiguous or channels_last",
        ),
        (gpu and cell.allocator == "tuned", "allocator tuned concerns CPU cells; leave it at system"),
        (
            graph and cell.processes > 1,
            f"execution {cell.execution} with processes {cell.processes} is not supported; choose eager or compile",
        ),
        (
            (cell.micro_batch or 0) > cell.batch_size,
            f"micro_batch {cell.micro_batch} is more than batch_size {cell.batch_size}",
        ),
        (
            cell.batch_size % cell.processes != 0,
            f"batch_size {cell.batch_size} cannot be shared equally by {cell.processes} processes",
        ),
        (
            cell.processes > 1 and share < (cell.micro_batch or 0) <= cell.batch_size,
            f"micro_batch {cell.micro_batch} is more than one process's share of the batch, {share}",
        ),
        (
            cpu and isinstance(cell.threads, int) and cell.threads < cell.processes,
            f"threads {cell.threads} are fewer than processes {cell.processes}",
        ),
    )
    return [reason for wrong, reason in rules if wrong]


def _parse_published(path) -> tuple[list[dict], list[str]]:
    rows, problems = _read_sheet(path, PUBLISHED_COLUMNS)
    for number, row in enumerate(rows, start=1):
        where = f"{Path(path).name}, row '{row.get('label', number)}'"
        missing = [column for column in PUBLISHED_COLUMNS if column not in row]
        problems += [f"{where}: {column} is empty" for column in missing]
        for column, convert in (("seconds", float), ("images", int)):
            try:
                row[column] = convert(row.get(column, "1"))
                if not 0 < row[column] < float("inf"):
                    raise ValueError
            except ValueError:
                problems.append(f"{where}: {column} '{row[column]}' is no positive number")
    return rows, problems
