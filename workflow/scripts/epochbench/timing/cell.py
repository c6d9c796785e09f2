"""A cell: one row of the sheet, each column declared once.

The sheet's schema and defaults, the table in config/README.md, what a device does not have, and what records from
before a column existed mean all derive from these declarations (columns.py).
"""

import dataclasses
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from epochbench import foreign, networks
from epochbench.timing import frameworks

DEVICES = ("cpu", "gpu")
ANY = "any value"
# Slurm's own characters for the names of nodes' GPUs and features; they end up on its command line.
GPU_MODEL, FEATURES = "^[A-Za-z0-9_.]{1,63}$", "^[A-Za-z0-9._&|-]{1,63}$"


@dataclass(frozen=True)
class Column:
    """What a column may hold. `only` names the values that one device alone has; `empty` is the word for None.

    `forms` says in words what a `pattern` beside `values` allows.
    """

    meaning: str
    values: tuple[str, ...] | Callable[[], tuple[str, ...]] = ()
    pattern: str | None = None
    forms: str = ""
    minimum: int | None = None
    only: dict[str, tuple[str, ...] | str] = dataclasses.field(default_factory=dict)
    empty: str = ""
    shown: str = ""

    def allowed(self) -> tuple[str, ...]:
        """Return the words that the column may hold; an empty tuple where any will do."""
        return self.values() if callable(self.values) else self.values


def column(meaning: str, default: object = dataclasses.MISSING, **rules) -> typing.Any:
    """Declare a column: its meaning, its default (none: required), and the rules that Column lists."""
    return dataclasses.field(default=default, metadata={"column": Column(meaning, **rules)})


@dataclass(frozen=True)
class Cell:
    """One row of the sheet: what is trained, on what, and how."""

    cell: str = column(
        "its name in paths and figures",
        pattern="^[a-z0-9][a-z0-9-]{0,62}$",
        shown="lower-case letters, digits, hyphens",
    )
    device: str = column("what it trains on", values=DEVICES)
    model: str = column(
        "the network: `lenet` is the published one; any classifier of torchvision, or what your own function makes "
        "([docs/your-own.md](../docs/your-own.md))",
        "lenet",
        values=networks.names,
        pattern=foreign.PATTERN,
        forms=foreign.FORMS,
        shown="**`lenet`**, another file of `networks/`, `torchvision:NAME`, `path/to/file.py:factory`",
    )
    framework: str = column(
        "what trains: another than torch has an environment of its own", "torch", values=frameworks.names
    )
    precision: str = column(
        "arithmetic; bf16 and fp16 by autocast, bf16 only on CPUs that compute in it",
        "fp32",
        values=("fp32", "tf32", "bf16", "fp16"),
        only={"gpu": ("tf32", "fp16")},
    )
    batch_size: int = column(
        "images in a step; every image is trained on once an epoch, a smaller last batch included", 1000, minimum=1
    )
    micro_batch: int | None = column(
        "images in one forward and backward pass; the gradients of the batch are added up; empty means the whole batch",
        None,
        minimum=1,
    )
    memory_format: str = column(
        "layout of images and convolution weights; `onednn` keeps activations in that library's own blocked layout, "
        "in fp32 and eager, where the network can; `blocks` keeps images on the device as layers `fused` read them: "
        "in bf16, 2x2 blocks of pixels, a fourth channel of ones",
        "contiguous",
        values=("contiguous", "channels_last", "onednn", "blocks"),
        only={"cpu": ("onednn",), "gpu": ("blocks",)},
    )
    layers: str = column(
        "how the layers are computed, as the network's file declares: `pool_first` pools before ReLU, which commute; "
        "`space_to_depth` computes each convolution and its pooling as one wider convolution over 2x2 blocks of "
        "pixels, for tensor cores; `fused` is the whole training step written by hand in six Triton kernels, in bf16 "
        "and on images in `blocks`; weights and, but for rounding, results stay the same",
        "published",
        values=partial(networks.declared_by_any, "LAYERS"),
        only={"gpu": ("fused",)},
        shown="**`published`**; for lenet also `pool_first`, `space_to_depth`, `fused` (GPU)",
    )
    execution: str = column(
        "`compile` is torch.compile, which needs a C++ compiler on CPUs; `cuda_graph` captures the whole step, its "
        "update fused, and replays it; `compiled_graph` compiles and then captures it; `epoch_graph` captures all "
        "steps of an epoch as one graph, on the batches where they lie",
        "eager",
        values=("eager", "compile", "cuda_graph", "compiled_graph", "epoch_graph"),
        only={"gpu": ("cuda_graph", "compiled_graph", "epoch_graph")},
    )
    autotune: str = column(
        "`on`: cuDNN tries its algorithms before the clock and takes the fastest",
        "off",
        values=("off", "on"),
        only={"gpu": ("on",)},
    )
    allocator: str = column(
        "`system` is the C library as it comes; `tuned` keeps glibc from giving large blocks back to the kernel, so "
        "that they are not faulted in again",
        "system",
        values=("system", "tuned"),
        only={"cpu": ("tuned",)},
    )
    threads: int | str | None = column(
        "CPU threads; `all` is every core the job may use (affinity, cgroup quota, Slurm's grant), `1/2` half of them, "
        "rounded down but at least one",
        None,
        values=("1/2", "1/4", "1/8"),
        minimum=1,
        empty="all",
    )
    processes: int = column("data-parallel processes that share each batch, through torchrun", 1, minimum=1)
    gpu_model: str | None = column(
        "GPU model to ask the cluster for; empty means any", None, pattern=GPU_MODEL, only={"gpu": ANY}
    )
    constraint: str | None = column("node feature to ask the cluster for; empty means any", None, pattern=FEATURES)

    @property
    def captures_graph(self) -> bool:
        """Tell whether steps are captured once and replayed, one launch for all their kernels."""
        return self.execution in ("cuda_graph", "compiled_graph", "epoch_graph")


FIELDS = {field.name: field for field in dataclasses.fields(Cell)}
COLUMNS: dict[str, Column] = {name: field.metadata["column"] for name, field in FIELDS.items()}
REQUIRED = tuple(name for name, field in FIELDS.items() if field.default is dataclasses.MISSING)
DEFAULTS = {name: field.default for name, field in FIELDS.items() if name not in REQUIRED}


def with_defaults(row: dict) -> dict:
    """Return a row of a sheet, or the cell of an older record, with the default of every column that it lacks.

    The word that a column has for None becomes None.
    """
    words = {name: declared.empty for name, declared in COLUMNS.items()}
    return {name: None if value == words.get(name) else value for name, value in (DEFAULTS | row).items()}


def is_imported(cell: str) -> bool:
    """Tell whether a cell came with an export: its name then ends in the node that it was timed on."""
    return "@" in cell


def threads_of(asked: int | str | None, cores: int) -> int:
    """Return how many threads a cell's `threads` means: a number, a share such as 1/2 (at least 1), or None for all."""
    if isinstance(asked, str):
        return max(1, cores // int(asked.removeprefix("1/")))
    return asked or cores
