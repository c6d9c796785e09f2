"""Images and labels in IDX files, as MNIST's authors describe them: a magic number, each size, then plain bytes."""

import io
import math
import zlib
from pathlib import Path

import numpy as np
from isal import igzip

from epochbench.archive import read_packed
from epochbench.datasets import File
from epochbench.errors import BenchmarkError
from epochbench.images import Images, Splits

NAMES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
SIDE = 28
# Two zeros, 8 for unsigned bytes, and how many sizes follow, 4 bytes each, the highest first.
UNSIGNED_BYTES = b"\0\0\x08"
# The official training images are 47 MB.
MAX_BYTES = 128 * 2**20


def files(base: str, checksums: tuple[str, ...]) -> tuple[File, ...]:
    """Return the four official files below an address, with the MD5 of each."""
    return tuple(File(base + name, md5) for name, md5 in zip(NAMES, checksums, strict=True))


def read_files(path: str | Path, class_names: tuple[str, ...]) -> Splits:
    """Read four packed IDX files of 28 x 28 grey images.

    Raises BenchmarkError, naming the file, for one that is damaged, of other types or sizes, or has other labels.
    """
    contents = read_packed(path, NAMES)
    train, test = (_split(*names, contents, len(class_names)) for names in (NAMES[:2], NAMES[2:]))
    return Splits(train, test, list(class_names))


def _split(images: str, labels: str, contents: dict[str, bytes], classes: int) -> Images:
    pixels, truth = _array(images, contents[images], 3), _array(labels, contents[labels], 1)
    if pixels.shape[1:] != (SIDE, SIDE):
        raise BenchmarkError(f"file '{images}': images of {pixels.shape[1]} x {pixels.shape[2]}, not {SIDE} x {SIDE}")
    if len(pixels) != len(truth):
        raise BenchmarkError(f"file '{labels}': {len(truth)} labels, but '{images}' has {len(pixels)} images")
    if len(truth) and truth.max() >= classes:
        raise BenchmarkError(f"file '{labels}': label {truth.max()} is outside 0-{classes - 1}")
    return Images(pixels[:, None], truth.astype(np.int64))


def _array(name: str, content: bytes, dimensions: int) -> np.ndarray:
    """Return the unsigned bytes of one file, in as many dimensions as it must have."""
    text, start = _decompressed(name, content), 4 + 4 * dimensions
    if text[:4] != UNSIGNED_BYTES + bytes([dimensions]) or len(text) < start:
        raise BenchmarkError(f"file '{name}': begins with {text[:4].hex()}, not as unsigned bytes in {dimensions}D do")
    sizes = [int.from_bytes(text[at : at + 4], "big") for at in range(4, start, 4)]
    if math.prod(sizes) != len(text) - start:
        shown = " x ".join(map(str, sizes))
        raise BenchmarkError(f"file '{name}': promises {shown} bytes, but {len(text) - start} follow")
    return np.frombuffer(text, np.uint8, offset=start).reshape(sizes)


def _decompressed(name: str, content: bytes) -> bytes:
    try:
        with igzip.IGzipFile(fileobj=io.BytesIO(content)) as stream:
            text = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise BenchmarkError(f"file '{name}': truncated or no gzip file ({error}); acquire it again") from error
    if len(text) > MAX_BYTES:
        raise BenchmarkError(f"file '{name}': unpacks to more than {MAX_BYTES} bytes; refused")
    return text
