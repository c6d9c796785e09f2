"""One training step of the published network as six Triton kernels, written by hand for tensor cores.

The network is small and odd-sized (3, 16 and 8 channels), so that a library spends most of a step moving
activations between kernels. Here each layer is one kernel, and nothing is stored that the backward pass does not read.

**Convolution, ReLU and 2x2 max-pooling are one matrix product.** The four outputs that are pooled together see the same
6x6 patch of inputs, each its own 5x5 part of it. So one row of the product is one patch, its columns are
4 places x `OUT` channels, and the kernel stands in the matrix four times, shifted, zero elsewhere (going forward, a row
of the first stage is two outputs side by side, which share most of what they read: eight times):

    product[row, (place, channel)] = sum_k patch[row, k] packed[k, (place, channel)]
    pooled[row, channel] = max(0, bias[channel] + max_place product[row, (place, channel)])

Inputs are kept in 2x2 blocks of pixels, `[n, height/2, width/2, 4 x channels]`: a patch is then 3x3 blocks, three runs
of 3 blocks that lie one behind the other in memory. `places` remembers which of the four was the largest, the first of
equal ones as in max-pooling, or NOWHERE where ReLU let nothing through.

**Backward** uses the same matrix. With `spread[row, (place, channel)]` = the pooled gradient at its place, zero at
the other three: the gradient of `packed` is patch^T spread, summed over all rows, and that of the blocks is
spread packed^T, summed over the 3x3 patches that hold a block. The kernel's gradient is the sum over its four shifted
copies.

**Sums over the batch** are split over programs that keep their share in registers and store it once; a last kernel adds
the shares in a fixed order (no atomics: two runs give the same bits), updates the float32 weights with momentum and
writes the packed copies that the next step reads. Operands are bfloat16, sums float32, as under autocast.

docs/gpu.md tells what was tried, and what each try brought.
"""

import torch
import triton
import triton.language as tl
from torch import nn

from epochbench.errors import BenchmarkError

CLASSES = 10
SHAPE = (3, 32, 32)
NOWHERE = tl.constexpr(0)
SHAPES = [(16, 3, 5, 5), (16,), (8, 16, 5, 5), (8,), (120, 200), (120,), (84, 120), (84,), (CLASSES, 84), (CLASSES,)]
LAYERS = (nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Conv2d, nn.ReLU, nn.MaxPool2d, nn.Flatten, *[nn.Linear] * 3)

# A stage: blocks across its input and values in a block, values in a run of blocks, channels of its output, and how
# many outputs, side by side, are one row of its product.
FIRST = {"WIDTH": 16, "CHANNELS": 16, "SPAN": 64, "OUT": 16, "BESIDE": 2}
SECOND = {"WIDTH": 7, "CHANNELS": 64, "SPAN": 192, "OUT": 8, "BESIDE": 1}

# Rows a program takes at once, warps, pipeline stages: the fastest of those tried on an H100.
TUNING = {
    "forward_first": {"BLOCK": 64, "num_warps": 4, "num_stages": 1},
    "forward_second": {"BLOCK": 64, "num_warps": 4, "num_stages": 3},
    "dense": {"BLOCK": 16, "num_warps": 8, "num_stages": 1},
    "between": {
        "BLOCK_DENSE": 128, "STAGES_DENSE": 3, "BLOCK_WEIGHTS": 64, "STAGES_WEIGHTS": 3,
        "BLOCK_INPUTS": 128, "STAGES_INPUTS": 3, "num_warps": 4,
    },
    "weights_first": {"BLOCK": 128, "STAGES": 1, "num_warps": 4},
    "update": {"PARTS": 32, "num_warps": 8},
}  # fmt: skip
PROGRAMS = {"forward_first": 528, "weights_first": 384, "weights_second": 22}  # whole waves of an H100's 132 processors


# ---- convolution, forward ----


@triton.jit
def _corner(row, WIDTH: tl.constexpr, BESIDE: tl.constexpr):
    """Return the block at the upper left corner of each row's patch.

    Rows of the first stage come in the order of blocks of the second, whose input its output is.
    """
    if WIDTH == 7:
        image, y, x = row // 25, row % 25 // 5, row % 5
    else:
        inside: tl.constexpr = 4 // BESIDE  # rows in a block
        block = row // inside
        image = block // 49
        y = block % 49 // 7 * 2 + row % inside * BESIDE // 2
        x = block % 7 * 2 + row * BESIDE % 2
    return (image * WIDTH + y) * WIDTH + x


@triton.jit
def _patches(blocks, corner, live, chunk, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, SPAN: tl.constexpr,
             BESIDE: tl.constexpr):  # fmt: skip
    """Return 64 values of each patch, [rows, 64]: chunk 0, 1, ... of its three runs, each padded with zeros to SPAN."""
    value = tl.arange(0, 64)
    start = (corner + chunk * 64 // SPAN * WIDTH) * CHANNELS + chunk * 64 % SPAN
    start = tl.multiple_of(start, 16)  # so that loads are 16 bytes wide
    inside = live[:, None]
    if (2 + BESIDE) * CHANNELS < SPAN:
        inside = inside & (value < (2 + BESIDE) * CHANNELS)[None, :]
    return tl.load(blocks + start[:, None] + value[None, :], inside, 0.0)


@triton.jit
def _pool(product, bias, pooled, places, row, live, OUT: tl.constexpr, BESIDE: tl.constexpr, BLOCK: tl.constexpr):
    """Store the largest of each four outputs, after ReLU, and which it was."""
    column = tl.arange(0, BESIDE * OUT)
    four = tl.reshape(product, (BLOCK, BESIDE, 4, OUT))
    largest = tl.max(four, 2)
    bit = 1 << tl.arange(0, 4)[None, None, :, None]
    equal = tl.sum(tl.where(four == largest[:, :, None, :], bit, 0), 2)
    first = tl.reshape(equal & -equal, (BLOCK, BESIDE * OUT))  # the lowest bit
    value = tl.reshape(largest, (BLOCK, BESIDE * OUT)) + tl.load(bias + column % OUT)[None, :]
    first = tl.where(value > 0, first, NOWHERE)
    there = row[:, None] * (BESIDE * OUT) + column[None, :]
    tl.store(pooled + there, tl.maximum(value, 0.0).to(pooled.dtype.element_ty), live[:, None])
    tl.store(places + there, first.to(tl.uint8), live[:, None])


@triton.jit
def _forward(
    blocks, packed, bias, pooled, places, rows, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, SPAN: tl.constexpr,
    OUT: tl.constexpr, BESIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Convolve, add the bias, apply ReLU and pool BLOCK rows: `blocks` to `pooled` and `places`."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = row < rows
    corner = _corner(row, WIDTH, BESIDE)
    value, column = tl.arange(0, 64), tl.arange(0, 4 * BESIDE * OUT)
    product = tl.zeros((BLOCK, 4 * BESIDE * OUT), tl.float32)
    for chunk in tl.range(0, 3 * SPAN // 64):
        patch = _patches(blocks, corner, live, chunk, WIDTH, CHANNELS, SPAN, BESIDE)
        kernel = tl.load(packed + (chunk * 64 + value)[:, None] * (4 * BESIDE * OUT) + column[None, :])
        product = tl.dot(patch, kernel, product, input_precision="ieee")
    _pool(product, bias, pooled, places, row, live, OUT, BESIDE, BLOCK)


@triton.jit
def _forward_resident(
    blocks, packed, bias, pooled, places, rows, WIDTH: tl.constexpr, CHANNELS: tl.constexpr, SPAN: tl.constexpr,
    OUT: tl.constexpr, BESIDE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The same for the first stage, three chunks: each program keeps the kernel and takes many blocks of rows."""
    value, column = tl.arange(0, 64), tl.arange(0, 4 * BESIDE * OUT)
    kernel = packed + value[:, None] * (4 * BESIDE * OUT) + column[None, :]
    kernel0 = tl.load(kernel)
    kernel1 = tl.load(kernel + 64 * 4 * BESIDE * OUT)
    kernel2 = tl.load(kernel + 128 * 4 * BESIDE * OUT)
    for tile in tl.range(tl.program_id(0), tl.cdiv(rows, BLOCK), tl.num_programs(0)):
        row = tile * BLOCK + tl.arange(0, BLOCK)
        live = row < rows
        corner = _corner(row, WIDTH, BESIDE)
        product = tl.zeros((BLOCK, 4 * BESIDE * OUT), tl.float32)
        patch = _patches(blocks, corner, live, 0, WIDTH, CHANNELS, SPAN, BESIDE)
        product = tl.dot(patch, kernel0, product, input_precision="ieee")
        patch = _patches(blocks, corner, live, 1, WIDTH, CHANNELS, SPAN, BESIDE)
        product = tl.dot(patch, kernel1, product, input_precision="ieee")
        patch = _patches(blocks, corner, live, 2, WIDTH, CHANNELS, SPAN, BESIDE)
        product = tl.dot(patch, kernel2, product, input_precision="ieee")
        _pool(product, bias, pooled, places, row, live, OUT, BESIDE, BLOCK)


# ---- convolution, backward ----


@triton.jit
def _spread(gradient, places, row, live, SPREAD: tl.constexpr, OUT: tl.constexpr):
    """Return [rows, 4 x OUT]: the pooled gradient at the place that was the largest, zero at the other three."""
    column = tl.arange(0, 4 * OUT)
    if SPREAD:  # it is stored so
        return tl.load(gradient + row[:, None] * (4 * OUT) + column[None, :], live[:, None], 0.0)
    there = row[:, None] * OUT + (column % OUT)[None, :]
    value = tl.load(gradient + there, live[:, None], 0.0)
    place = tl.load(places + there, live[:, None], NOWHERE)
    return tl.where(place == (1 << column // OUT)[None, :], value, 0.0)


@triton.jit
def _weights(
    split, splits, group, blocks, gradient, places, parts, rows, WIDTH: tl.constexpr, CHANNELS: tl.constexpr,
    SPAN: tl.constexpr, OUT: tl.constexpr, SPREAD: tl.constexpr, BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Store a share of the packed kernel's gradient, patch^T spread: `parts`, [splits, 4 x OUT, 3 x SPAN] of float32.

    Sums over every splits-th block of rows, one output each, for the group's three chunks of 64 values.
    """
    chunk = group * 3
    sum0 = tl.zeros((64, 4 * OUT), tl.float32)
    sum1 = tl.zeros((64, 4 * OUT), tl.float32)
    sum2 = tl.zeros((64, 4 * OUT), tl.float32)
    for tile in tl.range(split, tl.cdiv(rows, BLOCK), splits, num_stages=STAGES):
        row = tile * BLOCK + tl.arange(0, BLOCK)
        live = row < rows
        corner = _corner(row, WIDTH, 1)
        spread = _spread(gradient, places, row, live, SPREAD, OUT)
        patch = _patches(blocks, corner, live, chunk, WIDTH, CHANNELS, SPAN, 1)
        sum0 = tl.dot(tl.trans(patch), spread, sum0, input_precision="ieee")
        patch = _patches(blocks, corner, live, chunk + 1, WIDTH, CHANNELS, SPAN, 1)
        sum1 = tl.dot(tl.trans(patch), spread, sum1, input_precision="ieee")
        patch = _patches(blocks, corner, live, chunk + 2, WIDTH, CHANNELS, SPAN, 1)
        sum2 = tl.dot(tl.trans(patch), spread, sum2, input_precision="ieee")
    there = parts + (split * 4 * OUT + tl.arange(0, 4 * OUT)[None, :]) * (3 * SPAN)
    there += chunk * 64 + tl.arange(0, 64)[:, None]
    tl.store(there, sum0)
    tl.store(there + 64, sum1)
    tl.store(there + 128, sum2)


@triton.jit
def _weights_first(blocks, gradient, places, parts, images, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """Store every program's share of the first kernel's gradient."""
    _weights(tl.program_id(0), tl.num_programs(0), 0, blocks, gradient, places, parts, images * 196,
             16, 16, 64, 16, False, BLOCK, STAGES)  # fmt: skip


@triton.jit
def _inputs(tile, spread, packed, gradient, rows, BLOCK: tl.constexpr, STAGES: tl.constexpr):
    """Store the gradient of the second stage's blocks, `gradient`, [rows = n x 7 x 7, 64].

    A block lies in up to 3x3 patches: in the one `down` and `right` of whose corner it is, in each of nine ways.
    """
    row = tile * BLOCK + tl.arange(0, BLOCK)
    image, y, x = row // 49, row % 49 // 7, row % 7
    column, value = tl.arange(0, 32), tl.arange(0, 64)
    total = tl.zeros((BLOCK, 64), tl.float32)
    for chunk in tl.range(0, 9, num_stages=STAGES):
        up, left = y - chunk // 3, x - chunk % 3
        inside = (row < rows) & (up >= 0) & (up < 5) & (left >= 0) & (left < 5)
        patch = (image * 5 + up) * 5 + left
        part = tl.load(spread + patch[:, None] * 32 + column[None, :], inside[:, None], 0.0)
        kernel = tl.load(packed + (chunk * 64 + value)[None, :] * 32 + column[:, None])
        total = tl.dot(part, kernel, total, input_precision="ieee")
    there = gradient + row[:, None] * 64 + value[None, :]
    tl.store(there, total.to(gradient.dtype.element_ty), (row < rows)[:, None])


# ---- dense layers and the loss ----


@triton.jit
def _dense(
    pooled, places, labels, packed1, bias1, packed2, bias2, packed3, bias3,
    hidden1, hidden2, gradient1, gradient2, gradient3, spread, bias_parts, losses, images, BLOCK: tl.constexpr,
):  # fmt: skip
    """Run BLOCK images through the three dense layers, softmax and cross-entropy, and back.

    Reads `pooled` and `places`, [n, 200] in the order (y, x, channel), and the packed weights, [128, 256], [128, 128]
    and [16, 128], zero where a layer ends. Stores what the weights' gradients need: the inputs of layers 2 and 3
    (`hidden`) and the gradients of all outputs (`gradient1` to `3`). `spread`, [n x 25, 32], is the gradient of the
    second convolution's outputs, `bias_parts` its sum over the program's images, and `losses`, [n], is float32.
    """
    image = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    live = (image < images)[:, None]
    wide, middle, narrow = tl.arange(0, 256), tl.arange(0, 128), tl.arange(0, 16)
    kind = pooled.dtype.element_ty
    there = image[:, None] * 200 + wide[None, :]
    inside = live & (wide < 200)[None, :]
    middles = image[:, None] * 128 + middle[None, :]

    x = tl.load(pooled + there, inside, 0.0)
    weight1 = tl.load(packed1 + middle[:, None] * 256 + wide[None, :])
    weight2 = tl.load(packed2 + middle[:, None] * 128 + middle[None, :])
    weight3 = tl.load(packed3 + narrow[:, None] * 128 + middle[None, :])
    first = tl.load(bias1 + middle, middle < 120, 1.0)  # one more value of each hidden layer is always one:
    second = tl.load(bias2 + middle, middle < 84, 1.0)  # its weight's gradient is the bias's
    third = tl.load(bias3 + narrow, narrow < 10, float("-inf"))
    label = tl.load(labels + image, image < images, 0)
    place = tl.load(places + there, inside, NOWHERE)

    x = (tl.dot(x, tl.trans(weight1), input_precision="ieee") + first[None, :]).to(kind)
    tl.store(hidden1 + middles, x, live)
    x = (tl.dot(x, tl.trans(weight2), input_precision="ieee") + second[None, :]).to(kind)
    tl.store(hidden2 + middles, x, live)
    logits = tl.dot(x, tl.trans(weight3), input_precision="ieee") + third[None, :]

    # Softmax and its cross-entropy with the labels; the gradient of the mean loss is (softmax - one-hot) / n.
    logits -= tl.max(logits, 1)[:, None]
    total = tl.sum(tl.exp(logits), 1)
    truth = narrow[None, :] == label[:, None]
    loss = tl.log(total) - tl.sum(tl.where(truth, logits, 0.0), 1)
    tl.store(losses + image, loss, image < images)
    g = tl.exp(logits) / total[:, None] - truth.to(tl.float32)
    g = tl.where(live, g / images, 0.0).to(kind)

    tl.store(gradient3 + image[:, None] * 16 + narrow[None, :], g, live)
    g = tl.dot(g, weight3, input_precision="ieee").to(kind)
    tl.store(gradient2 + middles, g, live)
    g = tl.dot(g, weight2, input_precision="ieee").to(kind)
    tl.store(gradient1 + middles, g, live)
    g = tl.dot(g, weight1, input_precision="ieee").to(kind)

    at = image[:, None] * 800 + (wide // 8 * 32 + wide % 8)[None, :]
    for which in tl.static_range(4):
        tl.store(spread + at + which * 8, tl.where(place == 1 << which, g, 0.0).to(kind), inside)
    passed = tl.where(place != NOWHERE, g.to(tl.float32), 0.0)
    tl.store(bias_parts + tl.program_id(0) * 256 + wide, tl.sum(passed, 0))


# ---- updates ----


@triton.jit
def _momentum(parameter, velocity, there, gradient, live, rate, momentum):
    """Update in place, v = momentum v + gradient, weight -= rate v, and return the new weights (float32)."""
    v = momentum * tl.load(velocity + there, live, 0.0) + gradient
    w = tl.load(parameter + there, live, 0.0) - rate * v
    tl.store(velocity + there, v, live)
    tl.store(parameter + there, w, live)
    return w


@triton.jit
def _update_linear(
    tile, inputs, gradient, weight, bias, weight_velocity, bias_velocity, packed, images, rate, momentum,
    IN: tl.constexpr, OUT: tl.constexpr, STRIDE: tl.constexpr, OUT_STRIDE: tl.constexpr, PACKED: tl.constexpr,
    BLOCK: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """Sum one 32x32 tile of a dense layer's gradient over all images, then update those weights and their packed copy.

    The bias of layers 2 and 3 is the weight of one more input, which is always one. Inputs of the first layer come in
    the order (y, x, channel); its weights are kept as nn.Flatten has them, (channel, y, x).
    """
    across = (IN + 32) // 32  # tiles over IN + 1 inputs
    out = tile // across * 32 + tl.arange(0, 32)
    into = tile % across * 32 + tl.arange(0, 32)
    total = tl.zeros((32, 32), tl.float32)
    for first in tl.range(0, images, BLOCK, num_stages=STAGES):
        image = first + tl.arange(0, BLOCK)
        live = (image < images)[:, None]
        g = tl.load(gradient + image[:, None] * OUT_STRIDE + out[None, :], live & (out < OUT)[None, :], 0.0)
        x = tl.load(inputs + image[:, None] * STRIDE + into[None, :], live & (into < STRIDE)[None, :], 0.0)
        total = tl.dot(tl.trans(g), x, total, input_precision="ieee")
    column = into
    if IN == 200:
        column = into % 8 * 25 + into // 8
    live = (out < OUT)[:, None] & (into < IN)[None, :]
    there = out[:, None] * IN + column[None, :]
    w = _momentum(weight, weight_velocity, there, total, live, rate, momentum)
    tl.store(packed + out[:, None] * PACKED + into[None, :], w.to(packed.dtype.element_ty), live)
    if IN != 200:
        there = out[:, None] + 0 * into[None, :]
        live = (out < OUT)[:, None] & (into == IN)[None, :]
        _momentum(bias, bias_velocity, there, total, live, rate, momentum)


@triton.jit
def _between(
    pooled1, pooled2, spread, packed_kernel, blocks_gradient, parts, splits, hidden1, hidden2,
    gradient1, gradient2, gradient3, losses, loss, weight1, bias1, weight2, bias2, weight3, bias3,
    weight_velocity1, bias_velocity1, weight_velocity2, bias_velocity2, weight_velocity3, bias_velocity3,
    packed1, packed2, packed3, images, rate, momentum, BLOCK_DENSE: tl.constexpr, STAGES_DENSE: tl.constexpr,
    BLOCK_WEIGHTS: tl.constexpr, STAGES_WEIGHTS: tl.constexpr, BLOCK_INPUTS: tl.constexpr, STAGES_INPUTS: tl.constexpr,
):  # fmt: skip
    """Run three jobs at once, all that can follow the dense layers' way back; the one with the longest waits first.

    Programs 0 to 42 sum and apply the gradients of the dense layers, a tile each; 43 stores the mean loss, and 44
    updates the first dense layer's bias; the next 3 x splits sum the second kernel's gradient; the others find the
    gradient of the first stage's outputs.
    """
    program = tl.program_id(0)
    if program < 28:
        _update_linear(program, pooled2, gradient1, weight1, bias1, weight_velocity1, bias_velocity1, packed1,
                       images, rate, momentum, 200, 120, 200, 128, 256, BLOCK_DENSE, STAGES_DENSE)  # fmt: skip
    elif program < 40:
        _update_linear(program - 28, hidden1, gradient2, weight2, bias2, weight_velocity2, bias_velocity2, packed2,
                       images, rate, momentum, 120, 84, 128, 128, 128, BLOCK_DENSE, STAGES_DENSE)  # fmt: skip
    elif program < 43:
        _update_linear(program - 40, hidden2, gradient3, weight3, bias3, weight_velocity3, bias_velocity3, packed3,
                       images, rate, momentum, 84, 10, 128, 16, 128, BLOCK_DENSE, STAGES_DENSE)  # fmt: skip
    elif program == 43:
        total = tl.zeros((1024,), tl.float32)
        for first in tl.range(0, images, 1024):
            image = first + tl.arange(0, 1024)
            total += tl.load(losses + image, image < images, 0.0)
        tl.store(loss, tl.sum(total, 0) / images)
    elif program == 44:
        out = tl.arange(0, 128)
        total = tl.zeros((64, 128), tl.float32)
        for first in tl.range(0, images, 64):
            image = (first + tl.arange(0, 64))[:, None]
            total += tl.load(gradient1 + image * 128 + out[None, :], image < images, 0.0).to(tl.float32)
        _momentum(bias1, bias_velocity1, out, tl.sum(total, 0), out < 120, rate, momentum)
    elif program < 45 + 3 * splits:
        _weights((program - 45) // 3, splits, (program - 45) % 3, pooled1, spread, spread, parts, images * 25,
                 7, 64, 192, 8, True, BLOCK_WEIGHTS, STAGES_WEIGHTS)  # fmt: skip
    else:
        tile = program - 45 - 3 * splits
        _inputs(tile, spread, packed_kernel, blocks_gradient, images * 49, BLOCK_INPUTS, STAGES_INPUTS)


@triton.jit
def _value(ky, kx, channel, place, CHANNELS: tl.constexpr, SPAN: tl.constexpr):
    """Return which of a patch's values a kernel's weight (ky, kx, channel) meets at one of the places.

    Places 0 to 3 are the four that are pooled, 4 to 7 those of the output beside, two pixels to the right.
    """
    y, x = ky + place % 4 // 2, kx + place % 2 + place // 4 * 2
    return y // 2 * SPAN + x // 2 * CHANNELS + (y % 2 * 2 + x % 2) * (CHANNELS // 4) + channel


@triton.jit
def _update_kernel(
    out, ky, first_kx, parts, weight, bias, weight_velocity, bias_velocity, packed, rate, momentum,
    IN: tl.constexpr, OUT: tl.constexpr, CHANNELS: tl.constexpr, SPAN: tl.constexpr, BESIDE: tl.constexpr,
    SPLITS: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Add up the shares of up to 16 weights of one row of one output's kernel, update them, and pack them.

    The first stage's images have a fourth channel that is always one: the sum at it is the bias's gradient.
    """
    tap, part = tl.arange(0, 16), tl.arange(0, PARTS)
    kx, channel = first_kx + tap // IN, tap % IN
    live = kx < 5
    is_bias = tap + ky * 16 == 15  # in the first row alone
    if IN != 3:
        is_bias = tap < 0  # there is none
    total = tl.zeros((PARTS, 16), tl.float32)
    for place in tl.static_range(4):
        value = tl.where(is_bias, 3, _value(ky, kx, channel, place, CHANNELS, SPAN))
        there = parts + (place * OUT + out) * (3 * SPAN) + value
        for first in tl.static_range(0, SPLITS, PARTS):  # unrolled: all loads are on their way at once
            split = first + part
            inside = (split < SPLITS)[:, None] & (live | is_bias)[None, :]
            total += tl.load(there[None, :] + split[:, None] * (4 * OUT * 3 * SPAN), inside, 0.0)
    gradient = tl.sum(total, 0)
    w = _momentum(weight, weight_velocity, ((out * IN + channel) * 5 + ky) * 5 + kx, gradient, live, rate, momentum)
    if IN == 3:
        _momentum(bias, bias_velocity, out + 0 * tap, gradient, is_bias, rate, momentum)
    for place in tl.static_range(4 * BESIDE):
        there = packed + _value(ky, kx, channel, place, CHANNELS, SPAN) * (4 * BESIDE * OUT)
        tl.store(there + place * OUT + out, w.to(packed.dtype.element_ty), live)


@triton.jit
def _update_convolutions(
    parts1, parts2, bias_parts, bias_splits,
    weight1, bias1, weight2, bias2, weight_velocity1, bias_velocity1, weight_velocity2, bias_velocity2,
    packed1, packed2, rate, momentum, BESIDE: tl.constexpr,
    SPLITS1: tl.constexpr, SPLITS2: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Add up and apply the convolutions' gradients.

    A program for each row of the first kernels (0 to 79), for each place of the second (80 to 279), and one for the
    second's bias.
    """
    program = tl.program_id(0)
    if program < 80:
        _update_kernel(program // 5, program % 5, 0, parts1, weight1, bias1, weight_velocity1,
                       bias_velocity1, packed1, rate, momentum, 3, 16, 16, 64, BESIDE, SPLITS1, PARTS)  # fmt: skip
    elif program < 280:
        place = program - 80
        _update_kernel(place // 25, place % 25 // 5, place % 5, parts2, weight2, bias2, weight_velocity2,
                       bias_velocity2, packed2, rate, momentum, 16, 8, 64, 192, 1, SPLITS2, PARTS)  # fmt: skip
    else:
        value = tl.arange(0, 256)
        total = tl.zeros((16, 256), tl.float32)
        for first in tl.range(0, bias_splits, 16):
            split = first + tl.arange(0, 16)
            inside = (split < bias_splits)[:, None]
            total += tl.load(bias_parts + split[:, None] * 256 + value[None, :], inside, 0.0)
        channel = tl.arange(0, 8)
        gradient = tl.sum(tl.reshape(tl.sum(total, 0), (32, 8)), 0)
        _momentum(bias2, bias_velocity2, channel, gradient, channel < 8, rate, momentum)


# ---- the step ----


def to_blocks(images: torch.Tensor, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Return images, float [n, 3, 32, 32], as the step reads them: [n, 16, 16, 16], 2x2 blocks of pixels, rounded.

    The sixteen values of a block are its pixels row by row, each red, green, blue and a one, whose weight's
    gradient is the bias's. Raises BenchmarkError for images of another shape.
    """
    count = len(images)
    if tuple(images.shape[1:]) != SHAPE:
        raise BenchmarkError(_refused(f"images are {list(images.shape[1:])}"))
    pixels = torch.cat([images.to(dtype), images.new_ones((count, 1, 32, 32), dtype=dtype)], 1)
    blocks = pixels.reshape(count, 4, 16, 2, 16, 2).permute(0, 2, 4, 3, 5, 1)
    return blocks.reshape(count, 16, 16, 16).contiguous()


class FusedStep:
    """Training steps of a network that `lenet.build` made, layers `published`, on batches of up to `capacity` images.

    The network's own parameters are updated in place; `velocities` are their momenta, in the same order. Whoever
    changes parameters by other means calls `refresh` afterwards, or restores all of `tensors()`. Nothing in a step
    waits for the device, so that it can be captured as a graph; only one step runs at a time. `dtype` is that of
    operands and stored activations; sums, weights, momenta and losses are float32. Raises BenchmarkError for any other
    network.
    """

    def __init__(
        self,
        network: nn.Sequential,
        rate: float,
        momentum: float,
        capacity: int,
        dtype: torch.dtype = torch.bfloat16,
    ):
        _check(network)
        self.parameters = [parameter.detach() for parameter in network.parameters()]
        self.velocities = [torch.zeros_like(parameter) for parameter in self.parameters]
        self.rate, self.momentum, self.capacity = rate, momentum, capacity
        self._reserve(dtype)
        self.refresh()

    def _reserve(self, dtype):
        """Reserve what kernels hand to each other. Packed copies begin as zeros, and where no weight is, stay so."""
        capacity, device = self.capacity, self.parameters[0].device
        rows1, rows2 = capacity * 196, capacity * 25

        def zeros(*shape, dtype=dtype):
            return torch.zeros(shape, dtype=dtype, device=device)

        self.packed = [
            zeros(192, 4 * FIRST["BESIDE"] * FIRST["OUT"]), zeros(576, 32),
            zeros(128, 256), zeros(128, 128), zeros(16, 128),
        ]  # fmt: skip
        self.pooled = [zeros(rows1, 16), zeros(rows2, 8)]
        self.places = [zeros(rows1, 16, dtype=torch.uint8), zeros(rows2, 8, dtype=torch.uint8)]
        self.hidden = [zeros(capacity, 128), zeros(capacity, 128)]
        self.gradients = [zeros(capacity, 128), zeros(capacity, 128), zeros(capacity, 16)]
        self.spread, self.blocks_gradient = zeros(rows2, 32), zeros(rows1, 16)
        self.losses = zeros(capacity, dtype=torch.float32)
        self.parts = [
            zeros(PROGRAMS["weights_first"], 64, 192, dtype=torch.float32),
            zeros(PROGRAMS["weights_second"], 32, 576, dtype=torch.float32),
            zeros(triton.cdiv(capacity, TUNING["dense"]["BLOCK"]), 256, dtype=torch.float32),
        ]

    def tensors(self) -> list[torch.Tensor]:
        """Return all that a step leaves for the next: weights, momenta, and the weights' packed copies."""
        return [*self.parameters, *self.velocities, *self.packed]

    def start_over(self) -> None:
        """Train on from the parameters as something else has set them, as if no step had been taken."""
        for velocity in self.velocities:
            velocity.zero_()
        self.refresh()

    def refresh(self) -> None:
        """Write the packed copies anew from the parameters, which something else has changed."""
        conv1, _, conv2, _, dense1, _, dense2, _, dense3, _ = self.parameters
        _pack_kernel(self.packed[0], conv1, FIRST)
        _pack_kernel(self.packed[1], conv2, SECOND)
        self.packed[2][:120, :200] = dense1.reshape(120, 8, 25).transpose(1, 2).reshape(120, 200)
        self.packed[3][:84, :120] = dense2
        self.packed[4][:CLASSES, :84] = dense3

    def step(self, blocks: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take one step on `blocks` (see `to_blocks`) and `labels`, int64 [n]; return the mean loss.

        The loss is that of the weights before the update, a tensor of its own on the device.
        """
        count = len(labels)
        if not 0 < count <= self.capacity or len(blocks) != count:
            raise BenchmarkError(_refused(f"there are {len(blocks)} images, {count} labels, room for {self.capacity}"))
        loss = torch.empty((), dtype=torch.float32, device=blocks.device)
        self._convolve(blocks, count)
        self._dense(labels, count)
        self._between(loss, count)
        self._weights_first(blocks, count)
        self._update(count)
        return loss

    def _convolve(self, blocks, count):
        """Both stages forward."""
        first, second = TUNING["forward_first"], TUNING["forward_second"]
        _forward_resident[(PROGRAMS["forward_first"],)](
            blocks, self.packed[0], self.parameters[1], self.pooled[0], self.places[0],
            count * (196 // FIRST["BESIDE"]), **FIRST, **first,
        )  # fmt: skip
        _forward[(triton.cdiv(count * 25, second["BLOCK"]),)](
            self.pooled[0], self.packed[1], self.parameters[3], self.pooled[1], self.places[1],
            count * 25, **SECOND, **second,
        )  # fmt: skip

    def _dense(self, labels, count):
        """The dense layers and the loss, and the way back through them."""
        _, _, _, _, _, bias1, _, bias2, _, bias3 = self.parameters
        _, _, packed1, packed2, packed3 = self.packed
        _dense[(triton.cdiv(count, TUNING["dense"]["BLOCK"]),)](
            self.pooled[1], self.places[1], labels, packed1, bias1, packed2, bias2, packed3, bias3,
            *self.hidden, *self.gradients, self.spread, self.parts[2], self.losses, count,
            **TUNING["dense"],
        )  # fmt: skip

    def _between(self, loss, count):
        """The dense layers' update, and the second stage's way back to its kernel and its inputs."""
        programs = 45 + 3 * PROGRAMS["weights_second"] + triton.cdiv(count * 49, TUNING["between"]["BLOCK_INPUTS"])
        _between[(programs,)](
            *self.pooled, self.spread, self.packed[1], self.blocks_gradient, self.parts[1], PROGRAMS["weights_second"],
            *self.hidden, *self.gradients, self.losses, loss,
            *self.parameters[4:], *self.velocities[4:], *self.packed[2:],
            count, self.rate, self.momentum, **TUNING["between"],
        )  # fmt: skip

    def _weights_first(self, blocks, count):
        """The way back from the first stage's outputs to its kernel."""
        _weights_first[(PROGRAMS["weights_first"],)](
            blocks, self.blocks_gradient, self.places[0], self.parts[0], count, **TUNING["weights_first"],
        )  # fmt: skip

    def _update(self, count):
        """The sums over all programs, and the update of both convolutions."""
        _update_convolutions[(281,)](
            *self.parts, triton.cdiv(count, TUNING["dense"]["BLOCK"]),
            *self.parameters[:4], *self.velocities[:4], *self.packed[:2], self.rate, self.momentum,
            BESIDE=FIRST["BESIDE"], SPLITS1=len(self.parts[0]), SPLITS2=len(self.parts[1]),
            **TUNING["update"],
        )  # fmt: skip


def _check(network: nn.Sequential) -> None:
    """Raise BenchmarkError unless this is the published network for 3x32x32 images and ten classes, in float32."""
    kinds = [type(layer) for layer in network] if isinstance(network, nn.Sequential) else [type(network)]
    if kinds != list(LAYERS):
        raise BenchmarkError(_refused(f"layers are {', '.join(kind.__name__ for kind in kinds)}"))
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    if shapes != SHAPES:
        raise BenchmarkError(_refused(f"parameters are {shapes}"))
    if not all(parameter.dtype == torch.float32 and parameter.is_contiguous() for parameter in network.parameters()):
        raise BenchmarkError(_refused("parameters are not float32 and contiguous"))


def _refused(found: str) -> str:
    return f"layers fused are for the published network on images of 3x32x32 and ten classes; here {found}"


def _pack_kernel(packed: torch.Tensor, kernel: torch.Tensor, stage: dict) -> None:
    """Write a kernel, [out, in, 5, 5], to its places in `packed`, [3 x span, 4 x beside x out]; the rest stays zero."""
    outputs, inputs = kernel.shape[:2]
    across = 2 + stage["BESIDE"]  # blocks of a run
    runs = packed.reshape(3, stage["SPAN"], 4 * stage["BESIDE"], outputs)[:, : across * stage["CHANNELS"]]
    pixels = runs.unflatten(1, (across, 2, 2, stage["CHANNELS"] // 4))
    for place in range(4 * stage["BESIDE"]):
        for y in range(5):
            for x in range(5):
                down, right = y + place % 4 // 2, x + place % 2 + place // 4 * 2
                pixels[down // 2, right // 2, down % 2, right % 2, :inputs, place] = kernel[:, :, y, x].t()
