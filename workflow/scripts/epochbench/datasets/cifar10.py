"""The official CIFAR-10 archive, read as if a stranger had sent it: nothing is executed, nothing is extracted."""

import math
from pathlib import Path

import numpy as np

from epochbench.archive import opened, read_members
from epochbench.datasets import File
from epochbench.datasets._pickled import as_text, batch_of, unpickle
from epochbench.errors import BenchmarkError
from epochbench.images import Images, Splits

TITLE = "CIFAR-10"
# torchvision.datasets.CIFAR10.url and .tgz_md5, copied so that the download needs no torch; a test compares them.
FILES = (File("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a"),)
FOLDER = "cifar-10-batches-py"
TRAIN_MEMBERS = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_MEMBER = "test_batch"
META_MEMBER = "batches.meta"
README_MEMBER = "readme.html"
MEMBERS = (*TRAIN_MEMBERS, TEST_MEMBER, META_MEMBER, README_MEMBER)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CLASSES = len(CLASS_NAMES)
IMAGE_SHAPE = (3, 32, 32)
PIXELS = math.prod(IMAGE_SHAPE)
MAX_CASES_PER_BATCH = 20_000


def read_archive(path: str | Path) -> Splits:
    """Read an archive in CIFAR-10's official Python layout, in one pass over the compressed file.

    Raises BenchmarkError, naming the member, for anything that the official archive would not hold: a truncated or
    foreign file, unknown or duplicate members, links, pickled types other than the official ones, wrong shapes,
    counts or labels.
    """
    with opened(path) as archive:
        contents = read_members(archive, path, FOLDER, MEMBERS)
        members = {name: _decode(name, content) for name, content in contents if name != README_MEMBER}
    return _assemble(members, path)


def _decode(name: str, content: bytes):
    """Decode one member: the class names and the count of batches.meta, or the images of a batch."""
    document = unpickle(name, content)
    return _meta(name, document) if name == META_MEMBER else batch_of(name, document, "labels", IMAGE_SHAPE, CLASSES)


def _meta(name: str, document: dict) -> tuple[list[str], int]:
    names, count = document.get("label_names"), document.get("num_cases_per_batch")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise BenchmarkError(f"member '{name}': 'label_names' must list {CLASSES} classes")
    if not isinstance(count, int) or not 0 < count <= MAX_CASES_PER_BATCH:
        raise BenchmarkError(f"member '{name}': 'num_cases_per_batch' is {count!r:.40}, not 1-{MAX_CASES_PER_BATCH}")
    return [as_text(label) for label in names], count


def _assemble(members: dict, path) -> Splits:
    missing = [name for name in MEMBERS if name not in members and name != README_MEMBER]
    if missing:
        raise BenchmarkError(f"{path}: member '{FOLDER}/{missing[0]}' is missing")
    class_names, count = members[META_MEMBER]
    for name in (*TRAIN_MEMBERS, TEST_MEMBER):
        images = len(members[name].labels)
        if images != count:
            raise BenchmarkError(f"{path}: member '{name}' holds {images} images, batches.meta promises {count}")
    batches = [members[name] for name in TRAIN_MEMBERS]
    train = Images(
        np.concatenate([batch.images for batch in batches]), np.concatenate([batch.labels for batch in batches])
    )
    return Splits(train, members[TEST_MEMBER], class_names)
