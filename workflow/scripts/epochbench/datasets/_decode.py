"""PNG and JPEG files to bytes of one shape, a share of them in each of as many processes as there are cores."""

import json
import math
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from epochbench.errors import BenchmarkError
from epochbench.images import Images, on_disk

GREY, RGB = "grey", "rgb"
MODES = {"1": GREY, "L": GREY, "RGB": RGB, "P": RGB, "CMYK": RGB, "YCbCr": RGB}
CHANNELS = {GREY: (1, "L"), RGB: (3, "RGB")}
# What a process is started for, at least; starting one takes as long as decoding some hundred small images.
IMAGES_EACH = 200


def channels_of(path: Path, colours: str) -> int:
    """Return how many channels the images have: as `colours` says, or as the first of them has."""
    if colours == "auto":
        with _opened(path) as image:
            colours = MODES[image.mode]
    return CHANNELS[colours][0]


def decode(root: Path, files: list, shape: tuple[int, int, int], colours: str, folder: Path) -> Images:
    """Decode files, pairs of a path below the root and a label, into uint8 [n, *shape] on the disk of a folder.

    Raises BenchmarkError, naming the file, for the first that cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix=".images-", dir=folder) as place:
        images = on_disk(Path(place, "images"), (len(files), *shape))
        task = {"root": str(root), "files": [name for name, _ in files], "shape": shape, "colours": colours}
        Path(place, "task.json").write_text(json.dumps(task))
        _share_out(place, min(_cores(), math.ceil(len(files) / IMAGES_EACH)))
    return Images(images, np.array([label for _, label in files], dtype=np.int64))


def _share_out(place: str, count: int) -> None:
    """Have so many processes decode a task: threads would wait for one another at every small image."""
    folders = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-m", "epochbench.datasets._decode", place, str(count)]
    workers = [
        subprocess.Popen([*command, str(number)], env=environment, stdout=subprocess.PIPE, text=True)
        for number in range(count)
    ]
    said = [worker.communicate()[0].strip() for worker in workers]
    if wrong := next(filter(None, said), None):
        raise BenchmarkError(wrong)
    if any(worker.returncode for worker in workers):
        raise BenchmarkError("a process that decoded images failed; its own message stands above")


def main(place: str, count: str, number: str) -> None:
    """Decode every `count`-th image of a task, from the `number`-th on; print what is wrong with the first bad one."""
    task = json.loads(Path(place, "task.json").read_text())
    files, shape = task["files"], task["shape"]
    images = np.memmap(Path(place, "images"), np.uint8, "r+", shape=(len(files), *shape))
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    try:
        for at in range(int(number), len(files), int(count)):
            images[at] = _decoded(Path(task["root"], files[at]), shape, task["colours"])
    except BenchmarkError as error:
        print(error)


def _decoded(path: Path, shape: list[int], colours: str) -> np.ndarray:
    """Return one image, uint8 [channels, height, width]: the middle of it in the shape's proportions, resized."""
    channels, height, width = shape
    mode = next(mode for count, mode in CHANNELS.values() if count == channels)
    with _opened(path) as image:
        if colours == "auto" and CHANNELS[MODES[image.mode]][1] != mode:
            raise BenchmarkError(
                f"{path}: {MODES[image.mode]}, but the first image is not; say dataset.folder.colours: rgb or grey to "
                "have all converted"
            )
        try:
            image.draft(mode, (2 * width, 2 * height))  # a large JPEG is decoded at a fraction of its size
            image = image if image.mode == mode else image.convert(mode)
            if image.size != (width, height):
                image = image.resize(
                    (width, height), Image.Resampling.BILINEAR, box=_middle(image.size, width / height)
                )
            return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)
        except (OSError, ValueError, SyntaxError) as error:
            raise BenchmarkError(f"{path}: not readable as an image ({error}); replace or remove it") from error


def _opened(path: Path) -> Image.Image:
    """Open an image, its pixels still undecoded. Raises BenchmarkError for what is not of one 8-bit picture."""
    try:
        image = Image.open(path, formats=("PNG", "JPEG"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BenchmarkError(
            f"{path}: not readable as PNG or JPEG ({_reason(error, path)}); replace or remove it"
        ) from error
    wrong = _unusable(image)
    if wrong:
        image.close()
        raise BenchmarkError(f"{path}: {wrong}; convert it to one picture of 8 bits without transparency, or remove it")
    return image


def _unusable(image: Image.Image) -> str | None:
    stored = str(image.tile[0][3]) if image.tile else ""
    if image.mode.startswith("I") or "16" in stored:
        return "has 16 bits a channel"
    if image.format == "PNG" and getattr(image, "is_animated", False):
        return "is animated"
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        return "has transparency"
    return None if image.mode in MODES else f"has mode {image.mode}"


def _reason(error: Exception, path: Path) -> str:
    return " ".join(str(error).replace(repr(str(path)), "it").split())[:160]


def _middle(size: tuple[int, int], proportion: float) -> tuple[float, float, float, float]:
    """Return the largest box in the middle of an image whose width is so many times its height."""
    width, height = size
    inner_width, inner_height = min(width, height * proportion), min(height, width / proportion)
    left, top = (width - inner_width) / 2, (height - inner_height) / 2
    return left, top, left + inner_width, top + inner_height


def _cores() -> int:
    """Return the cores that this process may use, at most as many as Snakemake gave its job."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable, int(granted)) if granted.isdigit() and int(granted) else usable


if __name__ == "__main__":
    main(*sys.argv[1:])
