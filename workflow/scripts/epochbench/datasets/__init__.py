"""The data sets: one file each, found by its name, which is a value of the config's `dataset.source`.

A file has these names:

    TITLE                       what tables and figures call it, such as "CIFAR-10"
    FILES                       the official files, each a File: its address, and the checksum that it must have; empty
                                where nothing is downloaded
    read_archive(path)          an images.Splits; raises BenchmarkError for anything but the official layout. Several
                                FILES come as one archive that archive.py packed

A file without FILES has one more, which says what to put into such an archive instead, from `dataset.<its name>`:

    plan(settings)              the content of the member PLAN as plain values; raises BenchmarkError

Image shape, class names and class count are those of what `read_archive` returns. The shards' manifest records them,
and everything after the stage shard takes them from there. A file whose name begins with an underscore is no data set;
it holds what several of them share.
"""

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent
SYNTHETIC, STAND_IN_LAYOUT = "synthetic", "cifar10"
# The shape and class count of the stand-in, which is made in the layout of another data set.
STAND_IN = ("3x32x32", 10)


@dataclass(frozen=True)
class File:
    """An official file: its address, and the MD5 that it must have."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """Return its name, the last part of its address."""
        return self.url.rpartition("/")[2]


def names() -> tuple[str, ...]:
    """Return the names of all data sets: those of the files in this folder."""
    return tuple(sorted(path.stem for path in FOLDER.glob("[a-z]*.py")))


def layout_of(dataset: dict) -> str:
    """Return the name of the data set that reads what the config's `dataset` asks for."""
    return STAND_IN_LAYOUT if is_stand_in(dataset) else dataset["source"]


def is_stand_in(dataset: dict) -> bool:
    """Tell whether the config's `dataset` asks for the stand-in, rather than for images of another shape or number."""
    synthetic = dataset["synthetic"]
    of_its_kind = (synthetic["shape"], synthetic["classes"]) == STAND_IN
    return dataset["source"] == SYNTHETIC and of_its_kind and not synthetic["train_images"]


def plan_settings(dataset: dict) -> dict | None:
    """Return what the config's `dataset` has for a source without files, under that one's name; None for others."""
    return None if is_stand_in(dataset) else dataset.get(dataset["source"])


def load(name: str) -> ModuleType:
    """Import a data set's file."""
    return importlib.import_module(f"{__name__}.{name}")
