"""The official CIFAR-10 archive, read as if a stranger had sent it: nothing is executed, nothing is extracted."""

import io
import math
import pickle
from pathlib import Path

import numpy as np

from epochbench.archive import opened, read_members
from epochbench.errors import BenchmarkError
from epochbench.images import Images, Splits

TITLE = "CIFAR-10"
# torchvision.datasets.CIFAR10.url and .tgz_md5, copied so that the download needs no torch; a test compares them.
URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
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
    document = _unpickle(name, content)
    return _meta(name, document) if name == META_MEMBER else _batch(name, document)


class _OfficialTypes(pickle.Unpickler):
    """Admits just what the official files hold; each admitted callable is guarded against other uses of it."""

    def find_class(self, module, name):
        admitted = {
            ("numpy.core.multiarray", "_reconstruct"): _empty_array,
            ("numpy._core.multiarray", "_reconstruct"): _empty_array,
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): _byte_type,
            ("_codecs", "encode"): _latin1_bytes,
        }
        if (module, name) not in admitted:
            raise pickle.UnpicklingError(f"refused: the pickle asks for {module}.{name}"[:200])
        return admitted[module, name]


def _empty_array(kind, shape, code):
    """Stand in for numpy's _reconstruct, which would allocate whatever shape it is given."""
    if kind is not np.ndarray or shape != (0,):
        raise pickle.UnpicklingError("refused: an array that does not begin empty")
    return np.ndarray.__new__(np.ndarray, (0,), np.uint8)


def _byte_type(code, *_):
    """Stand in for numpy.dtype: pixels are unsigned bytes and nothing else."""
    if code not in ("u1", b"u1"):
        raise pickle.UnpicklingError(f"refused: an array of type {code!r:.40}, not of unsigned bytes")
    return np.dtype(np.uint8)


def _latin1_bytes(text, encoding="latin1"):
    """Stand in for codecs.encode, which could be asked to decompress a bomb."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"refused: codec {encoding!r:.40}")
    return text.encode("latin1")


def _unpickle(name: str, content: bytes) -> dict:
    try:
        document = _OfficialTypes(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything at all; each is a refusal
        raise BenchmarkError(f"member '{name}': {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise BenchmarkError(f"member '{name}': holds a {type(document).__name__}, not a dictionary")
    return {_text(key): value for key, value in document.items()}


def _one_line(error: Exception) -> str:
    text = str(error) if str(error).startswith("refused: ") else f"not a readable pickle ({error})"
    return " ".join(text.split())[:300]


def _text(value) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _meta(name: str, document: dict) -> tuple[list[str], int]:
    names, count = document.get("label_names"), document.get("num_cases_per_batch")
    if not isinstance(names, list) or len(names) != CLASSES:
        raise BenchmarkError(f"member '{name}': 'label_names' must list {CLASSES} classes")
    if not isinstance(count, int) or not 0 < count <= MAX_CASES_PER_BATCH:
        raise BenchmarkError(f"member '{name}': 'num_cases_per_batch' is {count!r:.40}, not 1-{MAX_CASES_PER_BATCH}")
    return [_text(label) for label in names], count


def _batch(name: str, document: dict) -> Images:
    pixels, labels = document.get("data"), document.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,):
        shape = getattr(pixels, "shape", None)
        raise BenchmarkError(f"member '{name}': 'data' has shape {shape}, not (n, {PIXELS}) unsigned bytes")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise BenchmarkError(f"member '{name}': 'labels' is no list of whole numbers")
    wrong = sorted({label for label in labels if not 0 <= label < CLASSES})
    if wrong:
        raise BenchmarkError(f"member '{name}': label {wrong[0]} is outside 0-{CLASSES - 1}")
    if len(labels) != len(pixels):
        raise BenchmarkError(f"member '{name}': {len(pixels)} images but {len(labels)} labels")
    return Images(pixels.reshape(-1, *IMAGE_SHAPE), np.array(labels, dtype=np.int64))


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
