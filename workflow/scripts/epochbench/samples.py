"""A picture of what is trained on: a few images of every class."""

import io

import torch
from torchvision.utils import make_grid, save_image

from epochbench.archive import CLASSES
from epochbench.record import write_bytes
from epochbench.shard import load_split

ROWS = 3
# The first images hold every class many times over, and are soon read.
LOOKED_AT = 1000


def draw_samples(manifest_path, path) -> None:
    """Draw the first images of each class as a PNG, a column for each class, a row for each next image."""
    images, labels = load_split(manifest_path, "train", "cpu", limit=LOOKED_AT)
    blank = torch.ones_like(images[0])
    columns = [images[labels == kind][:ROWS] for kind in range(CLASSES)]
    grid = [column[row] if row < len(column) else blank for row in range(ROWS) for column in columns]
    picture = io.BytesIO()
    save_image(make_grid(torch.stack(grid), nrow=CLASSES, padding=2, pad_value=1.0), picture, format="png")
    write_bytes(path, picture.getvalue())
