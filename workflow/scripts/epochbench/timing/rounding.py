"""Arithmetic of another precision, imitated in float32 on the CPU: what rounding alone does to a training step."""

import contextlib

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

FLOAT32_FRACTION_BITS = 23
# Bits of the fraction that are kept, and whether a product's result is rounded too. TF32 rounds what goes in alone;
# bf16 and fp16 store what comes out as well. Sums are float32, as in tensor cores and oneDNN.
FRACTION_BITS = {"tf32": (10, False), "bf16": (7, True), "fp16": (10, True)}
PRODUCTS = (
    torch.ops.aten.convolution,
    torch.ops.aten.convolution_backward,
    torch.ops.aten.mm,
    torch.ops.aten.addmm,
    torch.ops.aten.bmm,
    torch.ops.aten.baddbmm,
)


def rounded_as(precision: str) -> contextlib.AbstractContextManager:
    """Return the context in which products are rounded as a precision rounds them; float32 computes as it is."""
    return Rounding(*FRACTION_BITS[precision]) if precision in FRACTION_BITS else contextlib.nullcontext()


class Rounding(TorchDispatchMode):
    """Rounds what goes into every convolution and matrix product, forward and backward, and maybe what comes out."""

    def __init__(self, bits: int, results: bool):
        super().__init__()
        self.bits, self.results = bits, results

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Nothing is compiled here; guarding against it would import torch's compiler, a second a run.
        return False

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        if operator.overloadpacket not in PRODUCTS:
            return operator(*args, **(kwargs or {}))
        result = operator(*tree_map(self._rounded, args), **(kwargs or {}))
        return tree_map(self._rounded, result) if self.results else result

    def _rounded(self, value):
        is_float = isinstance(value, torch.Tensor) and value.dtype == torch.float32
        return nearest(value, self.bits) if is_float else value


def nearest(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Return float32 numbers with so many bits of fraction, the nearest ones, an even last bit where two are as near.

    The exponent keeps float32's range: GradScaler keeps fp16's gradients within theirs.
    """
    dropped = FLOAT32_FRACTION_BITS - bits
    pattern = values.contiguous().view(torch.int32)
    half = (1 << (dropped - 1)) - 1 + ((pattern >> dropped) & 1)
    return ((pattern + half) & -(1 << dropped)).view(torch.float32)
