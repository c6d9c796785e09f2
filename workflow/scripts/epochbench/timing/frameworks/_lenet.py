"""The published network for other frameworks: its weights from torch's layouts and back, and its layers in Keras."""

from types import ModuleType
from typing import Any

import numpy as np

from epochbench.timing.cell import Cell

KERNEL = 5


class Layouts:
    """What torch names weights and how it lays them out: kernels [out, in, height, width], matrices [out, in].

    Elsewhere kernels are [height, width, in, out] and matrices [in, out]; with channels last the first matrix reads
    pixels in another order too.
    """

    def __init__(self, shape: tuple[int, int, int], channels_last: bool):
        _, height, width = shape
        for _ in range(2):  # two convolutions without padding, each pooled by two
            height, width = (height - KERNEL + 1) // 2, (width - KERNEL + 1) // 2
        self.pixels, self.channels_last = (height, width), channels_last
        self.names: list[str] = []

    def taken(self, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Return torch's weights in their order, kernel and bias of each layer, in the other layouts."""
        self.names = list(weights)
        return [self._taken(number, values) for number, values in enumerate(weights.values())]

    def given(self, values: list[np.ndarray]) -> dict[str, np.ndarray]:
        """Return weights under torch's names and in its layouts."""
        every = zip(self.names, enumerate(values), strict=True)
        return {name: np.ascontiguousarray(self._given(number, value)) for name, (number, value) in every}

    def _taken(self, number: int, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4:
            return np.ascontiguousarray(values.transpose(2, 3, 1, 0))
        if number == 4 and self.channels_last:
            values = values.reshape(len(values), -1, *self.pixels).transpose(0, 2, 3, 1).reshape(len(values), -1)
        return np.ascontiguousarray(values.T)

    def _given(self, number: int, values: np.ndarray) -> np.ndarray:
        if values.ndim == 4:
            return values.transpose(3, 2, 0, 1)
        values = values.T
        if number == 4 and self.channels_last:
            values = values.reshape(len(values), *self.pixels, -1).transpose(0, 3, 1, 2).reshape(len(values), -1)
        return values


def keras_network(keras: ModuleType, cell: Cell, shape: tuple[int, int, int], classes: int) -> Any:
    """Return the published network as a Keras model from images in a cell's layout to logits; weights are float32."""
    layers, last = keras.layers, cell.memory_format == "channels_last"
    keras.mixed_precision.set_dtype_policy("mixed_bfloat16" if cell.precision == "bf16" else "float32")
    keras.config.set_image_data_format("channels_last" if last else "channels_first")
    channels, height, width = shape
    stages = []
    for outputs in (16, 8):
        activation, pooling = layers.ReLU(), layers.MaxPooling2D(2)
        after = [activation, pooling] if cell.layers == "published" else [pooling, activation]
        stages += [layers.Conv2D(outputs, KERNEL), *after]
    dense = [layers.Flatten(data_format="channels_last"), *map(layers.Dense, (120, 84, classes))]
    return keras.Sequential([keras.Input((height, width, channels) if last else shape), *stages, *dense])
