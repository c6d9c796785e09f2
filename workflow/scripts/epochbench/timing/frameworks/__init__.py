"""The frameworks that train beside torch: one file each, found by its name, `-` in a sheet being `_` in a file.

A file declares what it has. This is read without running the file, so that a sheet can be checked where the framework
is not installed; a file of this folder without PACKAGES is no framework:

    PACKAGES = {"jax": "0.4.30"}    the packages that it imports, each with the lowest version that will do; their
                                    versions are a part of the stack
    ENVIRONMENT = "jax"             may be left out: the environment that it runs in, by default its own name
    MODELS = ("lenet",)             the networks that it knows
    CPU = {"execution": ("compile",), ...}
    GPU = {...}                     columns of the sheet and the values that it has on a device, the usual one first; of
                                    a column that is not named it has the default alone; without GPU it has no GPU cells

It has one function, called in an interpreter of its own, in which nothing imported torch and the framework is not yet
imported either. Before that the process has its threads (its affinity and `threads`) and its allocator:

    open_framework(cell, protocol, shape, classes, threads)     a trainer.Trainer; raises BenchmarkError where it cannot
"""

import ast
from functools import cache
from pathlib import Path

from epochbench.errors import BenchmarkError, in_one_line

TORCH = "torch"
FOLDER = Path(__file__).parent
DECLARED = {"PACKAGES": dict, "ENVIRONMENT": str, "MODELS": tuple, "CPU": dict, "GPU": dict}
# What every framework has: the harness sees to these, or they are of the cluster.
OF_ANY = ("cell", "device", "framework", "batch_size", "allocator", "threads", "gpu_model", "constraint")


def names() -> tuple[str, ...]:
    """Return the words of the sheet's column `framework`: torch, and a word a file that declares PACKAGES.

    Raises BenchmarkError for a file that is no Python.
    """
    files = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    return TORCH, *(stem.replace("_", "-") for stem in files if "PACKAGES" in _constants(stem))


def module_of(name: str) -> str:
    """Return the name of the module of a framework."""
    return f"{__name__}.{name.replace('-', '_')}"


def packages(name: str) -> dict[str, str]:
    """Return the packages that a framework needs, each with the lowest version that will do."""
    return _declared(name, "PACKAGES", {})


def environment(name: str) -> str:
    """Return the name of the environment that a framework runs in."""
    return _declared(name, "ENVIRONMENT", name)


def refused(name: str, cell: object) -> list[str]:
    """Return what of a cell a framework other than torch does not have, a plain reason each."""
    try:
        declared = {constant: _declared(name, constant, None) for constant in DECLARED}
    except BenchmarkError as error:
        return [str(error)]
    ways = declared[cell.device.upper()]
    if ways is None:
        return [f"framework {name} has no {cell.device.upper()} cells here"]
    had = {"model": declared["MODELS"] or (), **ways}
    defaults = {field.name: field.default for field in cell.__dataclass_fields__.values()}
    reasons = []
    for column, default in defaults.items():
        values, value = had.get(column, (default,)), getattr(cell, column)
        if column not in OF_ANY and value not in values:
            words = " or ".join("an empty field" if word is None else str(word) for word in values)
            reasons.append(f"{column} {value} is not one of framework {name}'s on a {cell.device.upper()}: {words}")
    return reasons


def _declared(name: str, constant: str, otherwise: object) -> object:
    """Return what a framework's file declares. Raises BenchmarkError where that cannot be read."""
    constants = _constants(name.replace("-", "_"))
    if "PACKAGES" not in constants:
        raise BenchmarkError(f"framework '{name}': there is no such file in timing/frameworks/ that declares PACKAGES")
    if constant not in constants:
        return otherwise
    file, kind = f"frameworks/{name.replace('-', '_')}.py", DECLARED[constant]
    try:
        value = ast.literal_eval(constants[constant])
    except (ValueError, TypeError) as error:
        raise BenchmarkError(f"{file}: {constant} must be written out, without names or calls") from error
    columns = value.values() if constant in ("CPU", "GPU") and isinstance(value, dict) else ()
    if not isinstance(value, kind) or not all(isinstance(each, tuple) for each in columns):
        of = " of tuples" if constant in ("CPU", "GPU") else ""
        raise BenchmarkError(f"{file}: {constant} must be a {kind.__name__}{of}, and is {str(value)[:80]}")
    return value


@cache
def _constants(stem: str) -> dict[str, ast.expr]:
    """Return what a file of this folder assigns to the names that it declares by; nothing where there is none."""
    path = FOLDER / f"{stem}.py"
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
    except OSError:
        return {}
    except (SyntaxError, ValueError) as error:
        raise BenchmarkError(f"frameworks/{path.name}: no Python ({in_one_line(error)}); mend or remove it") from error
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in DECLARED
    }
