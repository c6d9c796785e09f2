"""The official CIFAR-100 archive and its fine labels, read as CIFAR-10's is: nothing is executed or extracted."""

from pathlib import Path

from epochbench.archive import opened, read_members
from epochbench.datasets import File
from epochbench.datasets._pickled import as_text, batch_of, unpickle
from epochbench.errors import BenchmarkError
from epochbench.images import Splits

TITLE = "CIFAR-100"
# torchvision.datasets.CIFAR100.url and .tgz_md5; a test compares them.
FILES = (File("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85"),)
FOLDER = "cifar-100-python"
SPLITS, META_MEMBER, LEFTOVER = ("train", "test"), "meta", "file.txt~"
CLASSES = 100
IMAGE_SHAPE = (3, 32, 32)
# The official training file is one of 155 MB.
MAX_MEMBER_BYTES = 320 * 2**20


def read_archive(path: str | Path) -> Splits:
    """Read an archive in CIFAR-100's official Python layout, in one pass over the compressed file.

    Raises BenchmarkError, naming the member, for anything that the official archive would not hold.
    """
    with opened(path) as archive:
        contents = read_members(archive, path, FOLDER, (*SPLITS, META_MEMBER, LEFTOVER), MAX_MEMBER_BYTES)
        members = {name: _decode(name, content) for name, content in contents if name != LEFTOVER}
    missing = [name for name in (*SPLITS, META_MEMBER) if name not in members]
    if missing:
        raise BenchmarkError(f"{path}: member '{FOLDER}/{missing[0]}' is missing")
    return Splits(members["train"], members["test"], members[META_MEMBER])


def _decode(name: str, content: bytes):
    """Decode one member: the class names of the fine labels, or the images of a split."""
    document = unpickle(name, content)
    if name != META_MEMBER:
        return batch_of(name, document, "fine_labels", IMAGE_SHAPE, CLASSES)
    names = document.get("fine_label_names")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise BenchmarkError(f"member '{name}': 'fine_label_names' must list {CLASSES} classes")
    return [as_text(label) for label in names]
