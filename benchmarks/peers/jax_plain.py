"""The published network in plain JAX, as a script of one's own would have it; prints an epoch's seconds and last loss.

Usage: jax_plain.py FOLDER EPOCHS, where FOLDER has images.npy (uint8, NHWC) and labels.npy; one more comes first.
"""

import json
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

jax.config.update("jax_default_matmul_precision", "float32")
folder, epochs = sys.argv[1], int(sys.argv[2])
images, labels = np.load(f"{folder}/images.npy"), jnp.asarray(np.load(f"{folder}/labels.npy"), jnp.int32)
starts = range(0, len(images), 1000)
batches = [(jnp.asarray(images[at : at + 1000], jnp.float32) / 255, labels[at : at + 1000]) for at in starts]
shapes = [(5, 5, 3, 16), (5, 5, 16, 8), (200, 120), (120, 84), (84, 10)]
glorot, keys = jax.nn.initializers.glorot_uniform(), jax.random.split(jax.random.key(2021), len(shapes))
weights = [(glorot(key, shape), jnp.zeros(shape[-1])) for key, shape in zip(keys, shapes, strict=True)]
momenta = jax.tree.map(jnp.zeros_like, weights)


def loss(weights, values, labels):
    for kernel, bias in weights[:2]:
        values = lax.conv_general_dilated(values, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        values = lax.reduce_window(jax.nn.relu(values + bias), -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    values = values.reshape(len(values), -1)
    for kernel, bias in weights[2:]:
        values = values @ kernel + bias
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(values), labels[:, None], 1))


@partial(jax.jit, donate_argnums=(0, 1))
def step(weights, momenta, values, labels):
    value, gradients = jax.value_and_grad(loss)(weights, values, labels)
    momenta = jax.tree.map(lambda momentum, gradient: 0.9 * momentum + gradient, momenta, gradients)
    return jax.tree.map(lambda weight, momentum: weight - 0.01 * momentum, weights, momenta), momenta, value


seconds = []
for _ in range(1 + epochs):
    started = time.perf_counter()
    for batch in batches:
        weights, momenta, value = step(weights, momenta, *batch)
    jax.block_until_ready((weights, value))
    seconds.append(time.perf_counter() - started)
print(json.dumps({"seconds": seconds[1:], "loss": float(value)}))
