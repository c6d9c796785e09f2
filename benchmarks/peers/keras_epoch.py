"""Epochs of the seed network in Keras 3, on the backend that KERAS_BACKEND names; prints seconds and last loss as JSON.

Usage: keras_epoch.py FOLDER LAYERS EPOCHS, where FOLDER has images.npy (uint8, NHWC) and labels.npy, and LAYERS is
published or pool_first. The first epoch is not timed.
"""

import json
import sys
import time
from pathlib import Path

import keras
import numpy as np
from keras import layers

BATCH = 1000


def stage(channels: int, way: str) -> list:
    if way == "pool_first":
        return [layers.Conv2D(channels, 5), layers.MaxPooling2D(2), layers.ReLU()]
    return [layers.Conv2D(channels, 5, activation="relu"), layers.MaxPooling2D(2)]


def network(way: str) -> keras.Model:
    dense = [layers.Flatten(), layers.Dense(120), layers.Dense(84), layers.Dense(10)]
    model = keras.Sequential([keras.Input((32, 32, 3)), *stage(16, way), *stage(8, way), *dense])
    assert model.count_params() == 39_558
    return model


def on_tensorflow(model, loss, optimizer, images, labels):
    """Return an epoch in graph mode over tensors made beforehand, which is faster than Keras' own fit()."""
    import tensorflow as tf

    optimizer.build(model.trainable_variables)
    starts = range(0, len(images), BATCH)
    batches = [(tf.constant(images[at : at + BATCH]), tf.constant(labels[at : at + BATCH])) for at in starts]

    @tf.function
    def step(batch, truth):
        with tf.GradientTape() as tape:
            value = loss(truth, model(batch, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    def epoch() -> float:
        for batch, truth in batches:
            value = step(batch, truth)
        return float(value)

    return epoch


def by_fit(model, loss, optimizer, images, labels):
    model.compile(optimizer, loss)

    def epoch() -> float:
        history = model.fit(images, labels, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)
        return history.history["loss"][-1]

    return epoch


def main() -> None:
    folder, way, epochs = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    keras.utils.set_random_seed(2021)
    images = np.load(folder / "images.npy").astype(np.float32) / 255
    labels = np.load(folder / "labels.npy")
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    prepared = on_tensorflow if keras.backend.backend() == "tensorflow" else by_fit
    epoch = prepared(network(way), loss, keras.optimizers.SGD(0.01, 0.9), images, labels)
    epoch()
    seconds = []
    for _ in range(epochs):
        started = time.perf_counter()
        last = epoch()
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds, "loss": last}))


if __name__ == "__main__":
    main()
