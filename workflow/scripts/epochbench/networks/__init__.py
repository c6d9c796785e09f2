"""The networks: one file each, found by its name.

A file has a function `build(shape, classes, layers, memory_format)` that returns an nn.Module: images float32
[n, *shape] to logits [n, classes]. Whatever `layers` and `memory_format` say, its weights, their order and, but for
rounding, every result are the same. Two constants say which of them it has, the published way first; they are read
without running the file, so that a sheet can be checked where there is no torch:

    LAYERS = ("published",)
    MEMORY_FORMATS = ("contiguous", "channels_last")
"""

import ast
import importlib
from functools import cache
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Return the names of all networks: those of the files in this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))


def source(name: str) -> Path:
    """Return the file of a network."""
    return FOLDER / f"{name}.py"


def load(name: str) -> ModuleType:
    """Import a network's file, which imports torch."""
    return importlib.import_module(f"{__name__}.{name}")


@cache
def declared(name: str) -> dict[str, tuple[str, ...]]:
    """Return a network's constants LAYERS and MEMORY_FORMATS without running its file."""
    constants = {}
    for statement in ast.parse(source(name).read_text()).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            constants[statement.targets[0].id] = statement.value
    return {key: ast.literal_eval(constants[key]) for key in ("LAYERS", "MEMORY_FORMATS")}
