"""Keras 3 on TensorFlow: the step as a graph (tf.function), or that graph compiled by XLA (keras.io)."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.frameworks._lenet import Layouts, keras_network
from epochbench.timing.frameworks.trainer import Trainer
from epochbench.timing.protocol import Protocol

PACKAGES = {"keras": "3.3", "tensorflow": "2.16"}
MODELS = ("lenet",)
# TensorFlow's convolutions on a processor know channels last alone.
CPU = {
    "precision": ("fp32", "bf16"),
    "memory_format": ("channels_last",),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "compiled_graph"),
}
# TensorFlow tries cuDNN's algorithms before the clock unless a variable tells it not to.
GPU = {
    "precision": ("fp32", "tf32", "bf16"),
    "memory_format": ("channels_last", "contiguous"),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "compiled_graph"),
    "autotune": ("on", "off"),
}


def open_framework(cell: Cell, protocol: Protocol, shape: tuple, classes: int, threads: int) -> "KerasTrainer":
    """Return a trainer on the device that a cell names. Raises BenchmarkError where TensorFlow sees none."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["TF_CUDNN_USE_AUTOTUNE"] = "0" if cell.autotune == "off" else "1"
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    cards = tf.config.list_physical_devices("GPU") if cell.device == "gpu" else []
    if cell.device == "gpu" and not cards:
        raise BenchmarkError(
            f"cell '{cell.cell}': TensorFlow {tf.__version__} sees no GPU; install tensorflow[and-cuda] in its "
            "environment, check nvidia-smi, or leave its cells out"
        )
    for card in cards:
        # The card's memory is taken as it is needed, as torch takes it, and not all of it at once.
        tf.config.experimental.set_memory_growth(card, True)
    tf.config.experimental.enable_tensor_float_32_execution(cell.precision == "tf32")
    return KerasTrainer(tf, cell, protocol, shape, classes)


class KerasTrainer(Trainer):
    """The published network as a Keras model, trained by a function of our own: fit() costs more between the steps."""

    def __init__(self, tf: Any, cell: Cell, protocol: Protocol, shape: tuple, classes: int):
        import keras

        self.tf, self.keras, self.cell = tf, keras, cell
        self.place = tf.device("/GPU:0" if cell.device == "gpu" else "/CPU:0")
        self.tf32 = tf.config.experimental.tensor_float_32_execution_enabled()
        self.model = keras_network(keras, cell, shape, classes)
        self.layouts = Layouts(shape, cell.memory_format == "channels_last")
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self.optimizer = keras.optimizers.SGD(protocol.rate(cell.batch_size), protocol.momentum)
        self.optimizer.build(self.model.trainable_variables)
        self.graph = tf.function(self._step, jit_compile=cell.execution == "compiled_graph")
        self.first_numbers = tf.function(lambda: tf.stack([tf.reshape(each, [-1])[0] for each in self._parts()]))

    def _step(self, images, labels):
        parts = self.model.trainable_variables
        with self.tf.GradientTape() as tape:
            logits = self.tf.cast(self.model(images, training=True), self.tf.float32)
            loss = self.loss(labels, logits)
        self.optimizer.apply(tape.gradient(loss, parts), parts)
        return loss

    def _parts(self):
        return [variable.value for variable in self.model.trainable_variables]

    def load(self, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put the batches on the device."""
        with self.place:
            self.batches = [self._put(images, labels) for images, labels in batches]

    def _put(self, images, labels):
        last = self.cell.memory_format == "channels_last"
        stored = self.tf.constant(images.transpose(0, 2, 3, 1) if last else images)
        return self.tf.cast(stored, self.tf.float32) / 255.0, self.tf.constant(labels.astype(np.int32))

    def begin(self, weights: dict[str, np.ndarray]) -> None:
        """Begin a training from these weights."""
        self.model.set_weights(self.layouts.taken(weights))
        for variable in self.optimizer.variables:
            if len(variable.shape):  # a momentum, and neither the rate nor the count of steps
                variable.assign(np.zeros(variable.shape, np.float32))

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights as they are now."""
        return self.layouts.given(self.model.get_weights())

    def step(self, number: int) -> Any:
        """Take a step on a batch."""
        return self.graph(*self.batches[number])

    def synchronize(self) -> None:
        """Wait for every device."""
        self.tf.test.experimental.sync_devices()

    def peek(self) -> np.ndarray:
        """Return one number of every weight."""
        return self.first_numbers().numpy()

    def peak_memory_bytes(self) -> int:
        """Return the most that TensorFlow had on the card, or this process in memory."""
        if self.cell.device == "cpu":
            return super().peak_memory_bytes()
        return self.tf.config.experimental.get_memory_info("GPU:0")["peak"]

    def threads(self) -> int:
        """Return the threads that share the work of one operator."""
        return self.tf.config.threading.get_intra_op_parallelism_threads()

    def flags(self) -> dict[str, str]:
        """Return what Keras and TensorFlow have set."""
        return {
            "keras backend": self.keras.backend.backend(),
            "data format": "channels last" if self.cell.memory_format == "channels_last" else "channels first",
            "policy": self.model.dtype_policy.name,
            "tf32": str(self.tf.config.experimental.tensor_float_32_execution_enabled()),
            "XLA": str(self.cell.execution == "compiled_graph"),
            "TF_XLA_FLAGS": os.environ.get("TF_XLA_FLAGS", ""),
        }
