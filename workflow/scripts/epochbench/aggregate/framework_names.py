"""What frameworks are called by people, and the packages whose versions tell them."""

from collections.abc import Iterable

from epochbench.timing.frameworks import TORCH
from epochbench.timing.record import Record
from epochbench.unseen import visible

# By the sheet's word; another framework is called by that word.
NAMES = {
    TORCH: "PyTorch",
    "jax": "JAX",
    "keras": "Keras on TensorFlow",
    "keras-jax": "Keras on JAX",
    "keras-torch": "Keras on PyTorch",
}
# As the facts of a record's stack name them; another framework's fact has the sheet's word.
PACKAGES = {
    TORCH: ("torch",),
    "jax": ("jax", "jaxlib"),
    "keras": ("keras", "tensorflow"),
    "keras-jax": ("keras", "jax", "jaxlib"),
    "keras-torch": ("keras", "torch"),
}
# How environment variables begin that frameworks beside torch read, or set for themselves.
VARIABLES = ("JAX_", "XLA_", "KERAS_", "TF_")
UNKNOWN = "unknown"


def name_of(framework: str) -> str:
    """Return a framework as people say it."""
    return NAMES.get(framework) or visible(framework)


def is_of_framework(fact: str, frameworks: Iterable[str]) -> bool:
    """Tell whether a fact of a stack is a version of one of some frameworks, or a variable that only such ones read."""
    packages = {package for framework in frameworks for package in PACKAGES.get(framework, (framework,))}
    return fact in packages or fact.startswith(VARIABLES)


def versions_of(runs: list[Record]) -> str:
    """Return the versions of what the runs of one framework were trained with: "jax 0.10.0, jaxlib 0.10.0"."""
    packages = PACKAGES.get(runs[0].cell.framework, (runs[0].cell.framework,))
    values = {package: sorted({value for run in runs if (value := _version(run, package))}) for package in packages}
    return "; ".join(f"{package} {', '.join(found)}" for package, found in values.items() if found) or UNKNOWN


def _version(run: Record, package: str) -> str | None:
    """Return a package's version; records before version 4 have that of torch alone."""
    if run.stack and package in run.stack.facts:
        return visible(run.stack.facts[package])
    return visible(run.machine.torch) if package == TORCH == run.cell.framework else None
