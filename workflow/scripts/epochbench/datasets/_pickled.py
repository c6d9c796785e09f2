"""The pickles that the official CIFAR archives hold, read without running anything that they ask for."""

import io
import math
import pickle

import numpy as np

from epochbench.errors import BenchmarkError
from epochbench.images import Images


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


def unpickle(name: str, content: bytes) -> dict:
    """Return a member's dictionary. Raises BenchmarkError, naming the member, for any type but the official ones."""
    try:
        document = _OfficialTypes(io.BytesIO(content), encoding="bytes").load()
    except Exception as error:  # a hostile pickle can raise anything at all; each is a refusal
        raise BenchmarkError(f"member '{name}': {_one_line(error)}") from error
    if not isinstance(document, dict):
        raise BenchmarkError(f"member '{name}': holds a {type(document).__name__}, not a dictionary")
    return {as_text(key): value for key, value in document.items()}


def _one_line(error: Exception) -> str:
    text = str(error) if str(error).startswith("refused: ") else f"not a readable pickle ({error})"
    return " ".join(text.split())[:300]


def as_text(value: object) -> str:
    """Return a name as text, whichever Python wrote it."""
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def batch_of(name: str, document: dict, key: str, shape: tuple[int, int, int], classes: int) -> Images:
    """Return the images of a member and their labels, which stand under `key`.

    Raises BenchmarkError, naming the member, for wrong shapes, counts or labels.
    """
    pixels, labels = document.get("data"), document.get(key)
    values = math.prod(shape)
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape[1:] != (values,):
        found = getattr(pixels, "shape", None)
        raise BenchmarkError(f"member '{name}': 'data' has shape {found}, not (n, {values}) unsigned bytes")
    if not isinstance(labels, list) or any(type(label) is not int for label in labels):
        raise BenchmarkError(f"member '{name}': '{key}' is no list of whole numbers")
    wrong = sorted({label for label in labels if not 0 <= label < classes})
    if wrong:
        raise BenchmarkError(f"member '{name}': label {wrong[0]} is outside 0-{classes - 1}")
    if len(labels) != len(pixels):
        raise BenchmarkError(f"member '{name}': {len(pixels)} images but {len(labels)} labels")
    return Images(pixels.reshape(-1, *shape), np.array(labels, dtype=np.int64))
