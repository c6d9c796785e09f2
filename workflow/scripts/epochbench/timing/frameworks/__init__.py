"""The frameworks that train beside torch: one file each, found by its name.

A framework's file says which environment it lives in and which package it cannot do without, in constants that are read
without running it (environments.py), so that a run can be planned where it is not installed:

    ENVIRONMENT = "jax"     made by `make frameworks` from the pins workflow/envs/frameworks/jax.txt
    PACKAGE = "jax"         by the name that pip knows; several as a tuple, of which the first decides its age
    MINIMUM = "0.6"         the oldest version that will do; may be left out

A file of this folder without an ENVIRONMENT is no framework; it holds what several of them share.
"""

import re
from pathlib import Path

TORCH = "torch"
FOLDER = Path(__file__).parent
DECLARES = re.compile(r"^ENVIRONMENT\b", re.MULTILINE)


def names() -> tuple[str, ...]:
    """Return the words of the sheet's column `framework`: torch, and a word a framework's file."""
    files = sorted(path for path in FOLDER.glob("[a-z]*.py") if DECLARES.search(path.read_text(encoding="utf-8")))
    return TORCH, *(path.stem.replace("_", "-") for path in files)
