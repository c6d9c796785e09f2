"""Epochs of the seed network in plain JAX, the whole step under jit; prints seconds and last loss as JSON.

Usage: jax_epoch.py FOLDER EPOCHS, where FOLDER has images.npy (uint8, NHWC) and labels.npy. The first epoch is not
timed.
"""

import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

BATCH, RATE, MOMENTUM = 1000, 0.01, 0.9
SHAPES = [(5, 5, 3, 16), (5, 5, 16, 8), (200, 120), (120, 84), (84, 10)]


def parameters() -> list:
    glorot = jax.nn.initializers.glorot_uniform()
    keys = jax.random.split(jax.random.key(2021), len(SHAPES))
    return [(glorot(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, SHAPES, strict=True)]


def logits(weights, images):
    for kernel, bias in weights[:2]:
        activations = lax.conv_general_dilated(
            images, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        activations = jax.nn.relu(activations + bias)
        images = lax.reduce_window(activations, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    activations = images.reshape(len(images), -1)
    for kernel, bias in weights[2:]:
        activations = activations @ kernel + bias
    return activations


def loss(weights, images, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits(weights, images)), labels[:, None], 1))


def step(state, images, labels):
    weights, velocities = state
    value, gradients = jax.value_and_grad(loss)(weights, images, labels)
    velocities = jax.tree.map(lambda velocity, gradient: MOMENTUM * velocity + gradient, velocities, gradients)
    weights = jax.tree.map(lambda weight, velocity: weight - RATE * velocity, weights, velocities)
    return (weights, velocities), value


def main() -> None:
    folder, epochs = Path(sys.argv[1]), int(sys.argv[2])
    images = np.load(folder / "images.npy").astype(np.float32) / 255
    labels = np.load(folder / "labels.npy")
    starts = range(0, len(images), BATCH)
    batches = [(jnp.asarray(images[at : at + BATCH]), jnp.asarray(labels[at : at + BATCH])) for at in starts]
    compiled = jax.jit(step, donate_argnums=0)
    weights = parameters()
    state = weights, jax.tree.map(jnp.zeros_like, weights)
    seconds = []
    for _ in range(1 + epochs):
        started = time.perf_counter()
        for batch, truth in batches:
            state, value = compiled(state, batch, truth)
        jax.block_until_ready(value)
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"seconds": seconds[1:], "loss": float(value)}))


if __name__ == "__main__":
    main()
