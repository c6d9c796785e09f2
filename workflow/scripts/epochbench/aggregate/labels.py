"""What cells and changes are called in words; a cell's own name and its settings stand beside them."""

from collections import Counter

from epochbench.aggregate.baseline import node_of
from epochbench.foreign import is_foreign, without_folder
from epochbench.timing.cell import COLUMNS, DEFAULTS, Cell

# In the order in which they are said; under `...` stands how a column's other values are written. A value without
# either is said by its column's name.
WORDS = {
    "model": {"lenet": "published network", "resnet18": "ResNet-18"},
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
AS_TYPED = "as typed"


def label(cell: Cell) -> str:
    """Return a cell in words from its settings: "GPU, bf16, kernels by hand, epoch in one launch"."""
    # Kernels by hand have a layout of their own.
    told = [name for name in _set_otherwise(cell) if (name, cell.layers) != ("memory_format", "fused")]
    words = [setting(name, getattr(cell, name)) for name in told]
    network = [] if cell.model == DEFAULTS["model"] else words[:1]
    return ", ".join([*network, cell.device.upper(), *(words[len(network) :] or [AS_TYPED])])


def is_typed(cell: Cell) -> bool:
    """Tell whether a cell is what people type: its row of the sheet names nothing but device and network."""
    return set(_set_otherwise(cell)) <= {"model"}


def _set_otherwise(cell: Cell) -> list[str]:
    """Return the columns in which a cell is not as by default, in the order in which they are said."""
    # Columns of a later day are said last; a cluster's choice of node changes nothing in what is trained.
    names = [*WORDS, *(name for name in DEFAULTS if name not in (*WORDS, "gpu_model", "constraint"))]
    return [name for name in names if getattr(cell, name) != DEFAULTS[name]]


def setting(name: str, value: object) -> str:
    """Return one column's value in words."""
    if name == "model" and is_foreign(value):
        return without_folder(value)
    words = WORDS.get(name, {})
    shown = COLUMNS[name].empty or "none" if value is None else value
    return words.get(value) or words.get(..., f"{name.replace('_', ' ')} {{}}").format(shown)


def labels(cells: dict[str, Cell], own: dict[str, str]) -> dict[str, str]:
    """Return every cell in words: the sheet's own where it has them, the name behind it where two would read alike.

    `cells` and `own` are by the cell's name; an imported cell's node is said.
    """
    said = {name: own.get(name) or _with_node(label(cell), name) for name, cell in cells.items()}
    alike = Counter(said.values())
    return {name: words if alike[words] == 1 else f"{words} ({name})" for name, words in said.items()}


def _with_node(words: str, name: str) -> str:
    return f"{words} on {node_of(name)}" if node_of(name) else words
