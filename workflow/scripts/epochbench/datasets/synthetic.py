"""Synthetic images of any shape, number and class count: a plan of a few numbers, from which every machine makes the
same bytes."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from epochbench.archive import read_plan
from epochbench.images import Images, Splits, on_disk, shape_of

TITLE, FILES = "Synthetic images", ()
# Each class has a pattern of GRID x GRID colours, which is shifted in every image and covered with noise.
GRID, DARKEST, BRIGHTEST, NOISE_LEVELS = 4, 32, 192, 64
# Images that one seed makes, so that chunks can be made side by side.
CHUNK = 50
THREADS = 4


def plan(settings: dict) -> dict:
    """Return the plan of `dataset.synthetic`: shape, classes, images of both splits, seed, and a name for it."""
    train = settings["train_images"] or 5 * settings["images_per_batch"]
    shape, classes, seed = settings["shape"], settings["classes"], settings["seed"]
    return {
        "name": f"synthetic {shape}, {classes} classes, seed {seed}",
        "shape": shape_of(shape),
        "classes": classes,
        "seed": seed,
        "train": train,
        "test": settings["test_images"] or settings["images_per_batch"],
    }


def read_archive(path: str | Path) -> Splits:
    """Make the images of a plan, on the disk beside it: there may be more than memory holds."""
    asked = read_plan(path)
    train, test = (_made(asked, number, split, Path(path).parent) for number, split in enumerate(("train", "test")))
    return Splits(train, test, [f"class {number}" for number in range(asked["classes"])])


def _made(asked: dict, number: int, split: str, folder: Path) -> Images:
    count, shape, classes = asked[split], asked["shape"], asked["classes"]
    coarse = _random(asked["seed"]).integers(DARKEST, BRIGHTEST, (classes, shape[0], GRID, GRID), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix=".images-", dir=folder) as place:
        images = on_disk(Path(place, "images"), (count, *shape))
    labels = np.empty(count, dtype=np.int64)

    def fill(start: int) -> None:
        random, chunk = _random(asked["seed"], 1 + number, start), images[start : start + CHUNK]
        truth = labels[start : start + CHUNK] = random.integers(0, classes, len(chunk))
        for image, label in zip(chunk, truth, strict=True):
            down, right = (_places(random, side) for side in shape[1:])
            noise = np.frombuffer(random.bytes(image.size), dtype=np.uint8) % NOISE_LEVELS
            np.add(coarse[label][:, down][:, :, right], noise.reshape(shape), out=image)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(fill, range(0, count, CHUNK)))
    return Images(images, labels)


def _random(*seeds: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seeds))


def _places(random: np.random.Generator, side: int) -> np.ndarray:
    """Return the place in the pattern of each row or column, shifted by up to an eighth of the side."""
    shift = int(random.integers(-(side // 8), side // 8 + 1))
    return (np.arange(side) + shift) % side * GRID // side
