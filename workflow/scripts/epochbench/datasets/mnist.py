"""MNIST: handwritten digits, 28 x 28 grey, in four IDX files."""

from pathlib import Path

from epochbench.datasets._idx import files, read_files
from epochbench.images import Splits

TITLE = "MNIST"
# torchvision.datasets.MNIST.mirrors and .resources; a test compares them.
FILES = files(
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    (
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
)
CLASS_NAMES = tuple("0123456789")


def read_archive(path: str | Path) -> Splits:
    """Read the four packed files. Raises BenchmarkError, naming the file, for anything but the official layout."""
    return read_files(path, CLASS_NAMES)
