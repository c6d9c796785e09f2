"""A picture of what is trained on: a few images of every class."""

import io
from pathlib import Path

import numpy as np
from matplotlib.image import imsave
from safetensors import safe_open

from epochbench.files import write_bytes
from epochbench.shard.manifest import read_manifest

ROWS = 3
# Of more classes, those from the first on; larger images are shown with every so many pixels left out.
COLUMNS, LARGEST = 20, 64
# The first images hold every class many times over, and are soon read.
LOOKED_AT = 1000
PADDING = 2
WHITE = 255


def draw_samples(manifest_path: str | Path, path: str | Path) -> None:
    """Draw the first images of the first classes as a PNG, a column for each class, a row for each next image."""
    manifest = read_manifest(manifest_path)
    first = manifest["splits"]["train"]["shards"][0]
    count = min(first["images"], LOOKED_AT)
    with safe_open(Path(manifest_path).parent / first["file"], framework="numpy") as shard:
        images, labels = (shard.get_slice(name)[:count] for name in ("images", "labels"))
    picture = io.BytesIO()
    imsave(picture, _grid(images, labels, min(COLUMNS, len(manifest["class_names"]))), format="png")
    write_bytes(path, picture.getvalue())


def _grid(images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return uint8 [height, width, 3]: ROWS images of each class, white between them and where a class has fewer."""
    stride = -(-max(images.shape[2:]) // LARGEST)
    images = images[:, :, ::stride, ::stride]
    channels, height, width = images.shape[1:]
    down, right = height + PADDING, width + PADDING
    grid = np.full((PADDING + ROWS * down, PADDING + classes * right, 3), WHITE, dtype=np.uint8)
    for label in range(classes):
        for row, image in enumerate(images[labels == label][:ROWS]):
            top, left = PADDING + row * down, PADDING + label * right
            shown = image if channels == 3 else image[:1]  # grey ones become three equal channels
            grid[top : top + height, left : left + width] = shown.transpose(1, 2, 0)
    return grid
