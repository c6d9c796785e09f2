"""JAX: the whole step under jit, or an epoch as one scan over its batches (github.com/jax-ml/jax)."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.frameworks._lenet import Layouts
from epochbench.timing.frameworks.trainer import Trainer
from epochbench.timing.protocol import Protocol

PACKAGES = {"jax": "0.5.0", "jaxlib": "0.5.0"}
MODELS = ("lenet",)
CPU = {
    "precision": ("fp32", "bf16"),
    "memory_format": ("contiguous", "channels_last"),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "epoch_graph"),
}
# XLA tries its algorithms for convolutions before the clock unless told not to.
GPU = {
    "precision": ("fp32", "tf32", "bf16"),
    "memory_format": ("contiguous", "channels_last"),
    "layers": ("published", "pool_first"),
    "execution": ("compile", "epoch_graph"),
    "autotune": ("on", "off"),
}
# XLA would take their number of threads, rather than one for each core that this process may use.
THREADS = ("NPROC", "PJRT_NPROC")
PRODUCTS = {"fp32": "float32", "tf32": "tensorfloat32", "bf16": "default"}


def open_framework(cell: Cell, protocol: Protocol, shape: tuple, classes: int, threads: int) -> "JaxTrainer":
    """Return a trainer on the device that a cell names. Raises BenchmarkError where JAX sees none."""
    return JaxTrainer(cell, protocol, shape, open_jax(cell))


def open_jax(cell: Cell) -> Any:
    """Import JAX, its arithmetic set as a cell says, and return the cell's device. Raises BenchmarkError for none."""
    os.environ["JAX_PLATFORMS"] = "cuda" if cell.device == "gpu" else "cpu"
    # The card's memory is taken as it is needed, as torch takes it, and not three quarters of it at once.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    for name in THREADS:
        os.environ.pop(name, None)
    if cell.device == "gpu" and cell.autotune == "off":
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip()
    import jax

    jax.config.update("jax_default_matmul_precision", PRODUCTS[cell.precision])
    try:
        return jax.devices()[0]
    except (RuntimeError, AssertionError) as error:  # the second where there is no plugin for CUDA at all
        why = (str(error).strip().splitlines() or ["there is no plugin for it"])[0][:200]
        raise BenchmarkError(
            f"cell '{cell.cell}': JAX {jax.__version__} sees no {cell.device.upper()} ({why}); install jax[cuda13] in "
            "its environment, check nvidia-smi, or leave its cells out"
        ) from error


class JaxTrainer(Trainer):
    """The published network in JAX; a state is all weights and their momenta, which a step takes over."""

    def __init__(self, cell: Cell, protocol: Protocol, shape: tuple, device: Any):
        import jax
        import jax.numpy as jnp

        self.jax, self.jnp, self.cell, self.device = jax, jnp, cell, device
        self.rate, self.momentum = protocol.rate(cell.batch_size), protocol.momentum
        self.layout = "NHWC" if cell.memory_format == "channels_last" else "NCHW"
        self.layouts = Layouts(shape, self.layout == "NHWC")
        self.computed_in = jnp.bfloat16 if cell.precision == "bf16" else jnp.float32
        self.tf32 = jax.config.jax_default_matmul_precision not in ("float32", "highest") and cell.precision != "bf16"
        self.state = self.batches = None
        self.compiled = jax.jit(self._step, donate_argnums=0)
        self.compiled_epoch = jax.jit(self._epoch, donate_argnums=0)
        self.compiled_peek = jax.jit(lambda state: jnp.stack([part.ravel()[0] for part in jax.tree.leaves(state)]))

    def _logits(self, weights, images):
        lax, nn = self.jax.lax, self.jax.nn
        window = (1, 2, 2, 1) if self.layout == "NHWC" else (1, 1, 2, 2)
        last = self.layout == "NHWC"
        values, weights = images.astype(self.computed_in), [part.astype(self.computed_in) for part in weights]
        for kernel, bias in zip(weights[0:4:2], weights[1:4:2], strict=True):
            numbers = (self.layout, "HWIO", self.layout)
            values = lax.conv_general_dilated(values, kernel, (1, 1), "VALID", dimension_numbers=numbers)
            values = values + (bias if last else bias[:, None, None])
            values = nn.relu(values) if self.cell.layers == "published" else values
            values = lax.reduce_window(values, -self.jnp.inf, lax.max, window, window, "VALID")
            values = values if self.cell.layers == "published" else nn.relu(values)
        values = values.reshape(len(values), -1)
        for kernel, bias in zip(weights[4::2], weights[5::2], strict=True):
            values = values @ kernel + bias
        return values.astype(self.jnp.float32)

    def _loss(self, weights, images, labels):
        chances = self.jax.nn.log_softmax(self._logits(weights, images))
        return -self.jnp.mean(self.jnp.take_along_axis(chances, labels[:, None], 1))

    def _step(self, state, images, labels):
        weights, momenta = state
        loss, gradients = self.jax.value_and_grad(self._loss)(weights, images, labels)
        momenta = [self.momentum * old + new for old, new in zip(momenta, gradients, strict=True)]
        weights = [weight - self.rate * momentum for weight, momentum in zip(weights, momenta, strict=True)]
        return (weights, momenta), loss

    def _epoch(self, state, images, labels, rest):
        state, losses = self.jax.lax.scan(lambda state, batch: self._step(state, *batch), state, (images, labels))
        if rest is not None:
            state, last = self._step(state, *rest)
            losses = self.jnp.append(losses, last)
        return state, losses

    def load(self, batches: Sequence[tuple[np.ndarray, np.ndarray]]) -> None:
        """Put the batches on the device; for an epoch in one go those of full size lie in one array."""
        self.batches = [self._put(images, labels) for images, labels in batches]
        self.scanned = self.cell.execution == "epoch_graph"
        if self.scanned:
            full = [batch for batch in self.batches if len(batch[1]) == self.cell.batch_size]
            self.rest = self.batches[-1] if len(full) < len(self.batches) else None
            self.batches = tuple(self.jnp.stack(column) for column in zip(*full, strict=True))

    def _put(self, images, labels):
        images = images.transpose(0, 2, 3, 1) if self.layout == "NHWC" else images
        put = [self.jax.device_put(part, self.device) for part in (images, labels.astype(np.int32))]
        return put[0].astype(self.jnp.float32) / 255, put[1]

    def begin(self, weights: dict[str, np.ndarray]) -> None:
        """Begin a training from these weights."""
        first = [self.jax.device_put(values, self.device) for values in self.layouts.taken(weights)]
        self.state = first, [self.jnp.zeros_like(values) for values in first]

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights as they are now."""
        return self.layouts.given([np.asarray(values) for values in self.state[0]])

    def step(self, number: int) -> Any:
        """Take a step on a batch."""
        self.state, loss = self.compiled(self.state, *self._batch(number))
        return loss

    def _batch(self, number):
        if not self.scanned:
            return self.batches[number]
        return [part[number] for part in self.batches] if number < len(self.batches[1]) else self.rest

    def epoch(self) -> Any | None:
        """Take an epoch in one go, where the cell says so."""
        if not self.scanned:
            return None
        self.state, losses = self.compiled_epoch(self.state, *self.batches, self.rest)
        return losses

    def synchronize(self) -> None:
        """Wait for the last state, which all that was given to the device leads to; before there is one, for images."""
        self.jax.block_until_ready(self.batches if self.state is None else self.state)

    def peek(self) -> np.ndarray:
        """Return one number of every weight and momentum."""
        return np.asarray(self.compiled_peek(self.state))

    def peak_memory_bytes(self) -> int:
        """Return the most that XLA had on the card, or this process in memory."""
        return (self.device.memory_stats() or {}).get("peak_bytes_in_use") or super().peak_memory_bytes()

    def flags(self) -> dict[str, str]:
        """Return what JAX has set."""
        return {
            "jax_default_matmul_precision": str(self.jax.config.jax_default_matmul_precision),
            "platform": f"{self.device.platform} {self.device.device_kind}",
            "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
        }
