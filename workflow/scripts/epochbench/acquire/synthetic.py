"""The stand-in for CIFAR-10, written in the official archive's layout: for machines without internet, and for tests."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from epochbench.archive import add, packed
from epochbench.datasets.cifar10 import (
    CLASS_NAMES,
    CLASSES,
    FOLDER,
    IMAGE_SHAPE,
    META_MEMBER,
    PIXELS,
    TEST_MEMBER,
    TRAIN_MEMBERS,
)

# How far a class's picture wanders, in pixels each way, so that a network must find it and cannot just look it up.
MAX_SHIFT = 3
GRID = 4
NOISE_LEVELS = 64


@dataclass(frozen=True)
class Synthetic:
    """How many images to make for each of the six batch files, and from which seed."""

    images_per_batch: int = 10_000
    seed: int = 2021


def write_archive(path: str | Path, plan: Synthetic) -> None:
    """Write a gzip-compressed tar in CIFAR-10's official layout: 5 training batches, 1 test batch, batches.meta.

    The same plan gives the same images and labels everywhere. Every class has its own smooth colour pattern, which
    is shifted and covered with noise, so a network can learn it, and none of the images shows a thing.
    """
    random = np.random.Generator(np.random.PCG64(plan.seed))
    patterns = _patterns(random)
    with packed(path) as archive:
        for name in (*TRAIN_MEMBERS, TEST_MEMBER):
            add(archive, f"{FOLDER}/{name}", _pickled(_batch(random, patterns, name, plan.images_per_batch)))
        names = {"num_cases_per_batch": plan.images_per_batch, "label_names": list(CLASS_NAMES), "num_vis": PIXELS}
        add(archive, f"{FOLDER}/{META_MEMBER}", _pickled(names))


def _patterns(random) -> np.ndarray:
    """Return every class's pattern at every shift: uint8 [classes, shifts, pixels], values 32-191."""
    channels, side, _ = IMAGE_SHAPE
    coarse = random.integers(32, 192, (CLASSES, channels, GRID, GRID), dtype=np.int64)
    size = side // GRID
    steps = np.arange(side)
    low, part = steps // size, steps % size
    high = (low + 1) % GRID
    # Bilinear interpolation in whole numbers, so that every machine gets the same bytes.
    rows = coarse[:, :, low] * (size - part)[:, None] + coarse[:, :, high] * part[:, None]
    smooth = (rows[..., low] * (size - part) + rows[..., high] * part) // size**2
    span = range(-MAX_SHIFT, MAX_SHIFT + 1)
    shifted = [np.roll(smooth, (down, right), axis=(2, 3)) for down in span for right in span]
    return np.stack(shifted, axis=1).reshape(CLASSES, len(shifted), PIXELS).astype(np.uint8)


def _batch(random, patterns: np.ndarray, name: str, count: int) -> dict:
    labels = random.integers(0, CLASSES, count)
    shifts = random.integers(0, patterns.shape[1], count)
    noise = np.frombuffer(random.bytes(count * PIXELS), dtype=np.uint8) % NOISE_LEVELS
    return {
        "batch_label": f"synthetic {name}",
        "labels": labels.tolist(),
        "data": patterns[labels, shifts] + noise.reshape(count, PIXELS),
        "filenames": [f"synthetic_{name}_{index:05d}.png" for index in range(count)],
    }


def _pickled(document: dict) -> bytes:
    """Pickle with the array as its raw bytes, as the official files hold it (protocol 3 is the first that can)."""
    return pickle.dumps(document, protocol=3)
