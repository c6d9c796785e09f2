"""What cells and changes are called in words; a cell's own name and its settings stand beside them."""

import unicodedata
from collections import Counter

from epochbench import wording
from epochbench.aggregate.baseline import node_of
from epochbench.aggregate.framework_names import NAMES, name_of
from epochbench.foreign import is_foreign, without_folder
from epochbench.timing.cell import COLUMNS, DEFAULTS, Cell
from epochbench.timing.frameworks import TORCH
from epochbench.unseen import visible

# In the order in which they are said; under `...` stands how a column's other values are written. A value without
# either is said by its column's name.
WORDS = {
    "model": {"lenet": "published network", "resnet18": "ResNet-18"},
    "framework": {**NAMES, ...: "{}"},
    "precision": {"tf32": "TF32", ...: "{}"},
    "layers": {
        "published": "layers as published",
        "pool_first": "pooled before ReLU",
        "space_to_depth": "space to depth",
        "fused": "kernels by hand",
    },
    "memory_format": {
        "contiguous": "channels first",
        "channels_last": "channels last",
        "onednn": "oneDNN's layout",
        "blocks": "images in blocks",
    },
    "execution": {
        "eager": "launch by launch",
        "compile": "compiled",
        "cuda_graph": "step in one launch",
        "compiled_graph": "compiled, step in one launch",
        "epoch_graph": "epoch in one launch",
    },
    "autotune": {"on": "autotuned", "off": "not autotuned"},
    "allocator": {"tuned": "memory kept", "system": "memory given back"},
    "threads": {
        1: "one core",
        "1/2": "half the cores",
        "1/4": "a quarter of the cores",
        "1/8": "an eighth of the cores",
        None: "all cores",
        ...: "{} threads",
    },
    "batch_size": {...: "batches of {:,}"},
    "micro_batch": {None: "whole batches", ...: "{:,} images at a time"},
    "processes": {1: "one process", ...: "{} processes"},
}
# A GPU's cell speaks of the processor's cores as such, and each of its processes has a GPU of its own.
WORDS_OF_GPUS = {
    "threads": {
        1: "one CPU core",
        "1/2": "half the CPU cores",
        "1/4": "a quarter of the CPU cores",
        "1/8": "an eighth of the CPU cores",
        None: "all CPU cores",
        ...: "{} CPU threads",
    },
    "processes": {1: "one GPU", ...: "{} GPUs"},
}
AS_TYPED = "as typed"
# Letters of a node's name beside a cell.
MOST_LETTERS = 40


def label(cell: Cell) -> str:
    """Return a cell in words from its settings: "GPU, bf16, kernels by hand, epoch in one launch".

    A framework is said where it is not PyTorch: "CPU, JAX, compiled".
    """
    # Kernels by hand have a layout of their own.
    told = [name for name in _set_otherwise(cell) if (name, cell.layers) != ("memory_format", "fused")]
    words = {name: setting(name, getattr(cell, name), cell.device) for name in told}
    network = [words.pop("model")] if "model" in words else []
    device = words.pop("processes") if cell.device == "gpu" and "processes" in words else cell.device.upper()
    framework = [words.pop("framework")] if "framework" in words else []
    return ", ".join([*network, device, *framework, *(words.values() or [AS_TYPED])])


def is_typed(cell: Cell) -> bool:
    """Tell whether a cell is what people type: its row names nothing but device, network and framework."""
    return set(_set_otherwise(cell)) <= {"model", "framework"}


def settings_otherwise(cell: Cell) -> int:
    """Return how many columns a cell has otherwise than by default."""
    return len(_set_otherwise(cell))


def with_framework(cell: Cell, *sides: Cell, word: str = "with") -> str:
    """Return " with JAX" for one side of a comparison; nothing where all sides are trained by PyTorch."""
    named = {side.framework for side in (cell, *sides)} != {TORCH}
    return f" {word} {name_of(cell.framework)}" if named else ""


def _set_otherwise(cell: Cell) -> list[str]:
    """Return the columns in which a cell is not as by default, in the order in which they are said."""
    # Columns of a later day are said last; a cluster's choice of node changes nothing in what is trained.
    names = [*WORDS, *(name for name in DEFAULTS if name not in (*WORDS, "gpu_model", "constraint"))]
    return [name for name in names if getattr(cell, name) != DEFAULTS[name]]


def setting(name: str, value: object, device: str = "cpu") -> str:
    """Return one column's value in words, as a cell of a device has it."""
    if name == "model" and is_foreign(value):
        return visible(without_folder(value))
    words = (WORDS | (WORDS_OF_GPUS if device == "gpu" else {})).get(name, {})
    shown = COLUMNS[name].empty or "none" if value is None else value
    return words.get(value) or visible(words.get(..., f"{name.replace('_', ' ')} {{}}").format(shown))


def labels(cells: dict[str, Cell], own: dict[str, str]) -> dict[str, str]:
    """Return every cell in words: the sheet's own where it has them, the name behind it where two would read alike.

    `cells` and `own` are by the cell's name; an imported cell's node is said.
    """
    said = {name: own.get(name) or on_node(label(cell), name) for name, cell in cells.items()}
    behind = {name: visible(name) for name in cells}
    while alike := _alike(said):
        said |= {name: f"{said[name]} ({behind[name]})" for name in alike}
        # Words with a name behind them may be what the sheet calls another cell: then their places tell them apart.
        behind = {name: str(place) for place, name in enumerate(cells, start=1)}
    return said


def _alike(said: dict[str, str]) -> list[str]:
    """Return the names of the cells whose words another cell has too, but for capitals, spaces and forms of letters."""
    read = {name: " ".join(unicodedata.normalize("NFKC", words).casefold().split()) for name, words in said.items()}
    count = Counter(read.values())
    return [name for name, words in read.items() if count[words] > 1]


def on_node(words: str, cell: str) -> str:
    """Return words for a cell, with the node behind them where it was imported."""
    node = visible(node_of(cell))
    return f"{words} on {wording.cut(node, MOST_LETTERS)}" if node else words
