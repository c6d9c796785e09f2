"""Keras 3 on JAX: its model and its optimiser in the step that plain JAX compiles (keras.io)."""

import os
from typing import Any

import numpy as np

from epochbench.timing.cell import Cell
from epochbench.timing.frameworks._lenet import keras_network
from epochbench.timing.frameworks.jax import JaxTrainer, open_jax
from epochbench.timing.protocol import Protocol

PACKAGES = {"keras": "3.3", "jax": "0.5.0", "jaxlib": "0.5.0"}
ENVIRONMENT = "jax"
MODELS = ("lenet",)
CPU = {
    "precision": ("fp32", "bf16"),
    "memory_format": ("contiguous", "channels_last"),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "epoch_graph"),
}
GPU = {
    "precision": ("fp32", "tf32", "bf16"),
    "memory_format": ("contiguous", "channels_last"),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "epoch_graph"),
    "autotune": ("on", "off"),
}


def open_framework(cell: Cell, protocol: Protocol, shape: tuple, classes: int, threads: int) -> "KerasJaxTrainer":
    """Return a trainer on the device that a cell names. Raises BenchmarkError where JAX sees none."""
    os.environ["KERAS_BACKEND"] = "jax"
    return KerasJaxTrainer(cell, protocol, shape, classes, open_jax(cell))


class KerasJaxTrainer(JaxTrainer):
    """The published network as a Keras model without state of its own, as Keras has it for JAX."""

    def __init__(self, cell: Cell, protocol: Protocol, shape: tuple, classes: int, device: Any):
        super().__init__(cell, protocol, shape, device)
        import keras

        self.model = keras_network(keras, cell, shape, classes)
        self.optimizer = keras.optimizers.SGD(self.rate, self.momentum)
        self.optimizer.build(self.model.trainable_variables)
        self.settings = [np.asarray(variable.value) for variable in self.optimizer.variables]

    def _logits(self, weights, images):
        logits, _ = self.model.stateless_call(weights, [], images, training=True)
        return logits.astype(self.jnp.float32)

    def _step(self, state, images, labels):
        weights, settings = state
        loss, gradients = self.jax.value_and_grad(self._loss)(weights, images, labels)
        weights, settings = self.optimizer.stateless_apply(settings, gradients, weights)
        return (weights, settings), loss

    def begin(self, weights: dict[str, np.ndarray]) -> None:
        """Begin a training from these weights, with the optimiser as it was made: its rate, and no momentum."""
        first, settings = self.layouts.taken(weights), self.settings
        self.state = tuple([self.jax.device_put(each, self.device) for each in part] for part in (first, settings))
