"""The data sets: one file each, found by its name, which is a value of the config's `dataset.source`.

A file has these names:

    TITLE                       what tables and figures call it, such as "CIFAR-10"
    URL, MD5                    the official archive's address, and the checksum that it must have
    read_archive(path)          an images.Splits; raises BenchmarkError for anything but the official layout

Image shape, class names and class count are those of what `read_archive` returns. The shards' manifest records them,
and everything after the stage shard takes them from there.
"""

import importlib
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
# A value of `dataset.source` without a file: the stand-in, and the data set in whose layout it is made.
SYNTHETIC = "synthetic"
STAND_IN_LAYOUT = "cifar10"


def names() -> tuple[str, ...]:
    """Return the names of all data sets: those of the files in this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))


def layout_of(source: str) -> str:
    """Return the name of the data set that reads the archive of a `dataset.source`."""
    return STAND_IN_LAYOUT if source == SYNTHETIC else source


def load(name: str) -> ModuleType:
    """Import a data set's file."""
    return importlib.import_module(f"{__name__}.{name}")
