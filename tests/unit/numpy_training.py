"""NumPy as a framework, honest and slow: all that one more must provide, in one file of timing/frameworks/.

It trains behind the caller's back, in a thread, as accelerators do: a step returns before it is done.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from epochbench.timing.frameworks.trainer import Trainer

PACKAGES = {"numpy": "1.26"}
MODELS = ("lenet",)
CPU = {}


def open_framework(cell, protocol, shape, classes, threads):
    os.environ["JAX_PLATFORMS"] = cell.device  # as a framework's file tells its own library what follows from the cell
    return NumpyTrainer(protocol.rate(cell.batch_size), protocol.momentum)


class NumpyTrainer(Trainer):
    """Convolutions as products of patches, gradients by hand."""

    def __init__(self, rate, momentum):
        self.rate, self.momentum, self.queue = rate, momentum, ThreadPoolExecutor(1)

    def load(self, batches):
        self.batches = [(images.astype(np.float32) / np.float32(255), labels) for images, labels in batches]

    def begin(self, weights):
        self.names, self.now = list(weights), [values.astype(np.float32) for values in weights.values()]
        self.momenta = [np.zeros_like(values) for values in self.now]

    def weights(self):
        return self.queue.submit(lambda: dict(zip(self.names, self.now, strict=True))).result()

    def step(self, number):
        return self.queue.submit(self.train, number)

    def synchronize(self):
        self.queue.submit(lambda: None).result()

    def peek(self):
        return self.queue.submit(lambda: np.array([values.flat[0] for values in self.now])).result()

    def read(self, losses):
        return np.float64(losses.result())

    def train(self, number):
        loss, gradients = self.gradients(*self.batches[number])
        for place, gradient in enumerate(gradients):
            self.momenta[place] = self.momentum * self.momenta[place] + gradient
            self.now[place] = self.now[place] - np.float32(self.rate) * self.momenta[place]
        return loss

    def gradients(self, images, labels):
        values, layers = images, []
        for kernel, bias in zip(self.now[0:4:2], self.now[1:4:2], strict=True):
            values, kept = convolved(values, kernel, bias)
            layers.append((convolved_back, kept))
        values, layers = values.reshape(len(values), -1), [*layers, (reshaped_back, values.shape)]
        for matrix, bias in zip(self.now[4::2], self.now[5::2], strict=True):
            layers.append((dense_back, (values, matrix)))
            values = product(values, matrix.T) + bias
        shifted = values - values.max(1, keepdims=True)
        chances = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
        rows = np.arange(len(labels))
        loss, back = -np.log(chances[rows, labels]).mean(), chances.copy()
        back[rows, labels] -= 1
        back, found = back / np.float32(len(labels)), []
        for gradient_of, kept in reversed(layers):
            back, *own = gradient_of(back, kept)
            found = own + found
        return loss, found


def product(left, right):
    return left @ right


def convolved(images, kernel, bias):
    """Return convolution, ReLU and pooling of images, and what their gradients need."""
    patches = sliding_window_view(images, (5, 5), (2, 3)).transpose(0, 2, 3, 1, 4, 5)
    rows = np.ascontiguousarray(patches).reshape(*patches.shape[:3], -1)
    active = np.maximum(product(rows, kernel.reshape(len(kernel), -1).T) + bias, 0)
    count, height, width, outputs = active.shape
    blocks = active.reshape(count, height // 2, 2, width // 2, 2, outputs).transpose(0, 1, 3, 5, 2, 4)
    blocks = blocks.reshape(count, height // 2, width // 2, outputs, 4)
    pooled, chosen = blocks.max(-1), blocks.argmax(-1)
    return pooled.transpose(0, 3, 1, 2), (rows, kernel, images.shape, pooled, chosen)


def convolved_back(back, kept):
    rows, kernel, shape, pooled, chosen = kept
    back = back.transpose(0, 2, 3, 1) * (pooled > 0)
    spread = (back[..., None] * (chosen[..., None] == np.arange(4))).astype(np.float32)
    count, height, width, outputs = back.shape
    spread = spread.reshape(count, height, width, outputs, 2, 2).transpose(0, 1, 4, 2, 5, 3)
    flat = np.ascontiguousarray(spread).reshape(-1, outputs)
    of_kernel = product(flat.T, rows.reshape(len(flat), -1)).reshape(kernel.shape)
    of_images = product(flat, kernel.reshape(outputs, -1)).reshape(count, 2 * height, 2 * width, *kernel.shape[1:])
    before = np.zeros(shape, np.float32)
    for y in range(5):
        for x in range(5):
            before[:, :, y : y + 2 * height, x : x + 2 * width] += of_images[..., y, x].transpose(0, 3, 1, 2)
    return before, of_kernel, flat.sum(0)


def reshaped_back(back, shape):
    return (back.reshape(shape),)


def dense_back(back, kept):
    values, matrix = kept
    return product(back, matrix), product(back.T, values), back.sum(0)
