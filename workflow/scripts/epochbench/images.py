"""The images of a data set, as its reader returns them."""

from dataclasses import dataclass

import numpy as np


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
