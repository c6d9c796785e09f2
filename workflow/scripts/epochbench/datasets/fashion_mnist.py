"""Fashion-MNIST: clothes, 28 x 28 grey, in MNIST's layout of four IDX files."""

from pathlib import Path

from epochbench.datasets._idx import files, read_files
from epochbench.images import Splits

TITLE = "Fashion-MNIST"
# torchvision.datasets.FashionMNIST.mirrors, .resources and .classes; a test compares them.
FILES = files(
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
)
CLASS_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip


def read_archive(path: str | Path) -> Splits:
    """Read the four packed files. Raises BenchmarkError, naming the file, for anything but the official layout."""
    return read_files(path, CLASS_NAMES)
