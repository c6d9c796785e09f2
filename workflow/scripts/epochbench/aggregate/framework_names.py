"""What frameworks are called by people, and the packages whose versions tell them."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

from epochbench.timing.frameworks import TORCH, names, packages
from epochbench.timing.record import Record
from epochbench.timing.stack import FRAMEWORK_VARIABLES
from epochbench.unseen import visible

# By the sheet's word; another framework is called by that word.
NAMES = {
    TORCH: "PyTorch",
    "jax": "JAX",
    "keras": "Keras on TensorFlow",
    "keras-jax": "Keras on JAX",
}
UNKNOWN = "unknown"


def name_of(framework: str) -> str:
    """Return a framework as people say it."""
    return NAMES.get(framework) or visible(framework)


def is_of_framework(fact: str, frameworks: Iterable[str]) -> bool:
    """Tell whether a fact of a stack is a version of one of some frameworks, or a variable that only such ones read."""
    of_frameworks = {package for framework in frameworks for package in _packages(framework)}
    return fact in of_frameworks or any(fnmatchcase(fact, pattern) for pattern in FRAMEWORK_VARIABLES)


def versions_of(runs: list[Record]) -> str:
    """Return the versions of what the runs of one framework were trained with: "jax 0.10.0, jaxlib 0.10.0"."""
    told = _packages(runs[0].cell.framework)
    values = {package: sorted({value for run in runs if (value := _version(run, package))}) for package in told}
    return "; ".join(f"{package} {', '.join(found)}" for package, found in values.items() if found) or UNKNOWN


def _packages(framework: str) -> tuple[str, ...]:
    """Return the packages whose versions tell a framework's: of one that is not known here, the sheet's word itself."""
    known = framework != TORCH and framework in names()
    return tuple(packages(framework)) if known else (framework,)


def _version(run: Record, package: str) -> str | None:
    """Return a package's version; records before version 4 have that of torch alone."""
    if run.stack and package in run.stack.facts:
        return visible(run.stack.facts[package])
    return visible(run.machine.torch) if package == TORCH == run.cell.framework else None
