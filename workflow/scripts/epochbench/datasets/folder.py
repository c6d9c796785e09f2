"""A folder of class folders with PNG or JPEG images: listed when it is acquired, decoded by every core."""

import hashlib
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from epochbench.archive import read_plan
from epochbench.datasets._decode import channels_of, decode
from epochbench.errors import BenchmarkError
from epochbench.images import Splits, shape_of

TITLE, FILES = "A folder of images", ()
IMAGES = (".png", ".jpg", ".jpeg")
OTHER_IMAGES = (".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".jxl")
TRAIN, TESTS = "train", ("test", "val")


def plan(settings: dict) -> dict:
    """List the images of a folder: its name and place, the classes, each split's files and labels, the size.

    Where the folder holds `train` and `test` (or `val`), these hold the class folders. Else every class gives an equal
    share of its images, `test_share`, to the test. Splits are ordered by a hash of their files' names, since the
    benchmark does not shuffle. Raises BenchmarkError, naming the file or folder, for one that is no data set.
    """
    root = Path(settings["path"]).expanduser().resolve()
    if not root.is_dir():
        raise BenchmarkError(f"dataset.folder.path: {root} is no folder; name one that holds a folder for each class")
    test = next((name for name in TESTS if (root / TRAIN).is_dir() and (root / name).is_dir()), None)
    if test:
        train, held_out = _classes(root / TRAIN, root), _classes(root / test, root)
        if differing := sorted(set(train) ^ set(held_out)):
            raise BenchmarkError(f"{root}: class '{differing[0]}' is in one of {TRAIN}/ and {test}/ alone")
    else:
        train, held_out = _held_out(_classes(root, root), settings["test_share"], root)
    return {
        "name": root.name,
        "root": str(root),
        "size": shape_of(settings["size"]),
        "colours": settings["colours"],
        "class_names": list(train),
        "train": _in_order(train),
        "test": _in_order(held_out),
    }


def read_archive(path: str | Path) -> Splits:
    """Decode the images of a plan where they lie; each is cut to the shape's proportions and resized.

    Raises BenchmarkError, naming the file, for one that is unreadable, animated, has transparency or more than 8 bits,
    or is grey among coloured ones.
    """
    listed = read_plan(path)
    root = Path(listed["root"])
    shape = (channels_of(root / listed["train"][0][0], listed["colours"]), *listed["size"])
    train, test = (
        decode(root, listed[split], shape, listed["colours"], Path(path).parent) for split in ("train", "test")
    )
    return Splits(train, test, listed["class_names"])


def _classes(folder: Path, root: Path) -> dict[str, list[str]]:
    """Return the images of each class, as paths below the root, both in the order of their names."""
    names = sorted(each.name for each in os.scandir(folder) if each.is_dir() and not each.name.startswith("."))
    if len(names) < 2:
        found = f"only '{names[0]}'" if names else "none"
        raise BenchmarkError(f"{folder}: must hold a folder for each of at least two classes; there is {found}")
    alike = {}
    for name in names:
        other = alike.setdefault(unicodedata.normalize("NFC", name).casefold().strip(), name)
        if other != name:
            raise BenchmarkError(f"{folder}: the classes '{other}' and '{name}' have one name; rename or join them")
    return {name: _images(folder / name, root) for name in names}


def _images(folder: Path, root: Path) -> list[str]:
    """Return the images of one class. Raises BenchmarkError where there are none, or one is of another kind."""
    found = []
    for path in _files(folder, root):
        if path.suffix.lower() in OTHER_IMAGES:
            raise BenchmarkError(f"{path}: neither PNG nor JPEG; convert it, or move it elsewhere")
        if path.suffix.lower() in IMAGES:
            found.append(path.relative_to(root).as_posix())
    if not found:
        raise BenchmarkError(f"{folder}: holds no PNG or JPEG; move the folder elsewhere, or fill it")
    return sorted(found)


def _files(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files of a folder and of those within it; hidden ones are left."""
    _refuse_outside(folder, root)
    for each in os.scandir(folder):
        path = folder / each.name
        if each.name.startswith("."):
            continue
        if each.is_symlink():
            _refuse_outside(path, root)
        if each.is_dir(follow_symlinks=False):
            yield from _files(path, root)
        elif each.is_dir():
            raise BenchmarkError(f"{path}: a link to a folder; its images would count twice, so remove it")
        else:
            yield path


def _refuse_outside(path: Path, root: Path) -> None:
    if not path.resolve().is_relative_to(root):
        raise BenchmarkError(f"{path}: a link that leads out of {root}, to {path.resolve()}; copy the images instead")


def _held_out(classes: dict[str, list[str]], share: float, root: Path) -> tuple[dict, dict]:
    """Return the training and the test images of each class: every so many is held out."""
    train, test = {}, {}
    for name, images in classes.items():
        if len(images) < 2:
            raise BenchmarkError(f"{root / name}: holds one image, but training and test need one each; add some")
        count = min(max(1, round(len(images) * share)), len(images) - 1)
        held = [(at + 1) * count // len(images) > at * count // len(images) for at in range(len(images))]
        train[name] = [image for image, out in zip(images, held, strict=True) if not out]
        test[name] = [image for image, out in zip(images, held, strict=True) if out]
    return train, test


def _in_order(classes: dict[str, list[str]]) -> list[tuple[str, int]]:
    """Return each image with its label, the classes mixed, in an order that the names alone decide."""
    labelled = [(image, label) for label, images in enumerate(classes.values()) for image in images]
    return sorted(labelled, key=lambda pair: hashlib.sha256(os.fsencode(pair[0])).digest())
