"""The images of a data set, as its reader returns them."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epochbench.errors import BenchmarkError


@dataclass(frozen=True)
class Images:
    """One split: `images` uint8 [n, channels, height, width], `labels` int64 [n] that count from 0."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Splits:
    """Both splits of a data set, and the name of each class in the order of the labels."""

    train: Images
    test: Images
    class_names: list[str]


def check_splits(splits: Splits, name: str) -> None:
    """Raise BenchmarkError, naming the data set, where its reader returned what Images and Splits do not describe."""
    for split, data in (("train", splits.train), ("test", splits.test)):
        wrong = _mistake(data, len(splits.class_names))
        if wrong:
            raise BenchmarkError(f"data set '{name}': its {split} {wrong}")
    shapes = [list(data.images.shape[1:]) for data in (splits.train, splits.test)]
    if shapes[0] != shapes[1]:
        raise BenchmarkError(f"data set '{name}': its train images have shape {shapes[0]}, its test images {shapes[1]}")


def _mistake(data: Images, classes: int) -> str | None:
    images, labels = np.asarray(data.images), np.asarray(data.labels)
    if images.dtype != np.uint8 or images.ndim != 4:
        return f"images are {images.dtype} {list(images.shape)}, not uint8 [n, channels, height, width]"
    if labels.dtype != np.int64 or labels.ndim != 1:
        return f"labels are {labels.dtype} {list(labels.shape)}, not int64 [n]"
    if not 0 < len(labels) == len(images):
        return f"split has {len(images)} images and {len(labels)} labels"
    if labels.min() < 0 or labels.max() >= classes:
        return f"labels are {labels.min()} to {labels.max()}, but its {classes} classes are 0 to {classes - 1}"
    return None


def shape_of(words: str) -> list[int]:
    """Return channels, height and width of a shape in words, such as 3x224x224, or the two of a size."""
    return [int(size) for size in words.split("x")]


def on_disk(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return an uint8 array of zeros that lies in a new file, for more images than memory holds.

    The file may be removed while the array is used; its room is freed with the array. Raises BenchmarkError where the
    disk has too little.
    """
    size, free = math.prod(shape), shutil.disk_usage(path.parent).free
    if size > free:
        raise BenchmarkError(
            f"{shape[0]} images of {shape[1:]} take {size / 1e9:.1f} GB, but {path.parent} has {free / 1e9:.1f}"
        )
    return np.memmap(path, np.uint8, "w+", shape=shape)
