"""The published network's weights, from torch's layouts to those of frameworks that keep channels last, and back."""

import numpy as np

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
