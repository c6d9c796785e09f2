"""What tests share by name: where the repository is, and how its own Snakemake is called."""

import ctypes
import os
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# Of this environment, whether or not it is on the PATH.
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


# Whoever has no such thing is not asked about it. Decided with each test, since `pytest --hide` hides them later than
# this is imported.
def needs_affinity(test: Callable) -> Callable:
    """Skip a test where processes are not pinned to cores."""
    reason = "this system does not pin processes to cores"
    return pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason=reason)(test)


def needs_glibc(test: Callable) -> Callable:
    """Skip a test where the C library has no mallopt."""
    return pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="this system has no mallopt")(test)


def deep(cases: Iterable[str], *further: str) -> list:
    """Return cases for parametrize; `further` ones vary what another case covers, and only CI runs them."""
    return [pytest.param(case, marks=[pytest.mark.deep] * (case in further)) for case in cases]


def with_small_calibrations(clone: Path) -> Path:
    """Have a copy of the repository measure a processor's peaks by small products, whose size is not what is tested."""
    module = clone / "workflow/scripts/epochbench/timing/device.py"
    text = module.read_text()
    for name, small in (("product_sizes: tuple[int, ...]", "(256,)"), ("copy_bytes", "2**22")):
        text, found = re.subn(rf"(?m)^(    {re.escape(name)} = ).*$", rf"\g<1>{small}", text)
        assert found == 1, f"{module}: {name} is not there"
    module.write_text(text)
    return clone
