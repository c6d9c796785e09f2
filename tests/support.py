"""What tests share by name: where the repository is, and how its own Snakemake is called."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# Of this environment, whether or not it is on the PATH.
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def deep(cases: Iterable[str], *further: str) -> list:
    """Return cases for parametrize; `further` ones vary what another case covers, and only CI runs them."""
    return [pytest.param(case, marks=[pytest.mark.deep] * (case in further)) for case in cases]
