"""The config and its sheets: defaults filled in, and every mistake found at once, a plain line each."""

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from epochbench import datasets
from epochbench.errors import BenchmarkError
from epochbench.files import is_url
from epochbench.schemas import explain, load_schema, mistakes, with_defaults
from epochbench.sheets import parse_cells, parse_published
from epochbench.timing.cell import Cell, is_imported
from epochbench.timing.devices import manufacturers
from epochbench.timing.frameworks.environments import environments
from epochbench.timing.protocol import PLAIN_SGD, Protocol
from epochbench.unseen import visible

# Keys of the config that name a sheet.
SHEETS = ("cells", "published")
# What `devices` says of a device that nothing runs on.
SKIPPED = (False, "skip")


def resolve_config(config: dict, home: str | Path = ".", files_here: bool = True) -> dict:
    """Return the config with every default filled in; a sheet that is not here is looked for in the folder `home`.

    Files of users that the sheet names may still have to come where `files_here` is false.

    Raises BenchmarkError with a line for each mistake: the key or the row, its value, and what is allowed.
    """
    schema = _schema()
    resolved = with_defaults(schema, config)
    resolved |= {key: _here_or_at(home, resolved[key]) for key in SHEETS}
    if isinstance(resolved["board"], dict):
        resolved["board"]["code"] = _here_or_at(home, resolved["board"]["code"])
    problems = [explain(error) for error in mistakes(schema, resolved)] + _not_finite(resolved)
    if not problems:
        problems = _check_dataset(resolved["dataset"]) + _check_timing(resolved["timing"])
        problems += _check_sheets(resolved, files_here)
        problems += _missing_files("results.import", resolved["results"]["import"])
        problems += _check_interpreters(resolved["frameworks"]["interpreters"])
    if problems:
        raise BenchmarkError("The config has mistakes; nothing was run:\n  " + "\n  ".join(problems))
    return resolved


def _here_or_at(home: str | Path, sheet: str) -> str:
    """Return where a sheet lies: as it is named, or else below the folder of the workflow, if it is there."""
    if not isinstance(sheet, str) or _is_file(sheet):
        return sheet
    elsewhere = str(Path(home) / sheet)
    return elsewhere if _is_file(elsewhere) else sheet


def _schema() -> dict:
    """Return the config's schema, with the data sets, and the makers of devices, that there are files of."""
    schema = copy.deepcopy(load_schema("config"))
    source = schema["properties"]["dataset"]["properties"]["source"]
    source["enum"] = list(datasets.names())
    maker = schema["properties"]["cluster"]["properties"]["gpu_manufacturer"]
    maker["enum"] = list(manufacturers())
    return schema


def protocol(config: dict) -> Protocol:
    """Return what a run must know of the config."""
    known = {field.name for field in fields(Protocol)}
    values = config["timing"] | config["optimizer"]
    values |= {"optimizer": config["optimizer"]["name"], "residency": config["dataset"]["residency"]}
    return Protocol(**{key: value for key, value in values.items() if key in known})


def _check_dataset(dataset: dict) -> list[str]:
    archive, sha256 = dataset["archive"], dataset["sha256"]
    problems = []
    if archive and not sha256:
        problems.append(f"dataset.sha256: empty, but dataset.archive is '{archive}'; name the checksum it must have")
    if sha256 and not archive:
        problems.append("dataset.sha256: given without dataset.archive; name the archive, or leave the checksum out")
    if archive and not is_url(archive) and not _is_file(archive) and not _is_folder(archive):
        problems.append(f"dataset.archive: there is no file '{archive}'")
    if archive and dataset["source"] in dataset:
        problems.append(f"dataset.archive: '{archive}' is named, but dataset.source is {dataset['source']}; choose one")
    if dataset["source"] == "folder" and not (path := dataset["folder"]["path"]):
        problems.append("dataset.folder.path: empty, but dataset.source is folder; name a folder of class folders")
    elif dataset["source"] == "folder" and not _is_folder(path):
        problems.append(f"dataset.folder.path: there is no folder '{path}'")
    return problems


def _check_interpreters(interpreters: dict[str, str]) -> list[str]:
    """Return a line for each name that is no environment's, or path that none can be.

    Whether the interpreter is there is told with its cells.
    """
    there = environments()
    known = "; ".join(f"{name} ({', '.join(frameworks)})" for name, frameworks in there.items()) or "none"
    return [
        f"frameworks.interpreters.{name}: no framework lives in an environment of that name; there are {known}"
        for name in interpreters
        if name not in there
    ] + [
        f"frameworks.interpreters.{name}: '{visible(path)}' is not a path that a file can have"
        for name, path in interpreters.items()
        if not _can_be(path)
    ]


def _can_be(path: str) -> bool:
    """Tell whether there can be a path: not with a NUL, nor in nobody's home."""
    try:
        return "\0" not in str(Path(path).expanduser())
    except RuntimeError:
        return False


def _missing_files(key: str, paths: list[str]) -> list[str]:
    return [f"{key}: there is no file '{path}'" for path in paths if not _is_file(path)]


def _is_file(path: str) -> bool:
    """Tell whether a path leads to a file; a path that cannot be one (a NUL, too long, nobody's home) does not."""
    return _is(Path.is_file, path)


def _is_folder(path: str) -> bool:
    """Tell whether a path leads to a folder."""
    return _is(Path.is_dir, path)


def _is(kind: Callable[[Path], bool], path: str) -> bool:
    try:
        return kind(Path(path).expanduser())
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


def _check_sheets(config: dict, files_here: bool) -> list[str]:
    cells, problems = parse_cells(config["cells"], config["columns"], files_here)
    problems = problems + parse_published(config["published"])[1]
    return problems or _check_named(config, [cell.cell for cell in cells]) + _check_by_hand(config, cells)


def _check_by_hand(config: dict, cells: list[Cell]) -> list[str]:
    """Return a line where cells that are to run have their update written by hand for another optimiser."""
    by_hand = [cell.cell for cell in cells if cell.layers == "fused" and config["devices"][cell.device] not in SKIPPED]
    optimizer = config["optimizer"]
    if not by_hand or protocol(config).is_plain_sgd:
        return []
    return [
        f"optimizer.name: {optimizer['name']} with weight_decay {optimizer['weight_decay']:g}, but layers fused "
        f"({', '.join(by_hand)} in {config['cells']}) know {PLAIN_SGD} alone; take a sheet without them, such as "
        "config/accuracy.tsv"
    ]


def _check_named(config: dict, names: list[str]) -> list[str]:
    """Return a line for each cell that statistics names and that can have no record."""
    problems, asked = [], {key: config["statistics"][key] for key in ("baseline", "best")}
    for key, cell in asked.items():
        if is_imported(cell) and not config["results"]["import"]:
            problems.append(f"statistics.{key}: '{cell}' is another machine's, but results.import names no export")
        elif not is_imported(cell) and cell not in ([*names, ""] if key == "best" else names):
            there = ", ".join(names)
            problems.append(f"statistics.{key}: '{cell}' is no cell of {config['cells']}; there are {there}")
    if asked["best"] == asked["baseline"]:
        problems.append(f"statistics.best: '{asked['best']}' is the baseline too; name another cell, or none")
    return problems
