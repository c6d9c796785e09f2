"""The answer as people say it: hardware by its short name, how it was used, and how many times as fast."""

import re

from epochbench import wording
from epochbench.aggregate.baseline import node_of
from epochbench.aggregate.labels import is_typed, on_node, with_framework
from epochbench.aggregate.summary import CellSummary
from epochbench.stats import Interval
from epochbench.timing.cell import Cell

# What vendors add to a processor's name and nobody says, from its generation to the memory.
UNSPOKEN = re.compile(
    r"\((R|TM|C)\)| @ .*$|^\d+(st|nd|rd|th) Gen | \w+-Cores?\b| CPU\b| Processor\b| (with|w/) .*(Graphics|Gfx)$"
    r"|[ -](SXM|PCIe|HBM)\w*|[ -]\d+ ?GB\b",
    re.IGNORECASE,
)
# How machines.hardware_used writes them.
CORES = re.compile(r"(?P<name>.*), (?P<count>\d+) cores")
DEVICES = re.compile(r"(?P<count>\d+) x (?P<name>.*)")
# Letters of a name that people say; a longer one is cut.
MOST_LETTERS = 40


def plain_sentence(
    slow: CellSummary, fast: CellSummary, ratio: Interval, *, fair: tuple[CellSummary, Interval] | None, is_best: bool
) -> str:
    """Return the comparison in words that need no knowledge of cells, without a full stop.

    `ratio` is how many times as fast `fast` trains as `slow`; `fair` has the fastest CPU cell of where `slow` was timed
    and the same over it; `is_best` tells whether `fast` was picked as the fastest there. Frameworks are named where not
    all sides are trained by PyTorch.
    """
    sides = [row.settings for row in (slow, fast, *(fair[:1] if fair else ()))]
    said = _over_the_baseline(slow, fast, ratio, sides, is_best=is_best)
    if fair and slow.device == "cpu":
        row, over = fair
        same = "the same processor at its" if on_one_machine(row, slow) else f"{where(row)} at {_its(row)}"
        said += f", and {_times(over)} {same} best{with_framework(row.settings, *sides)}"
    return said[0].upper() + said[1:]


def _over_the_baseline(
    slow: CellSummary, fast: CellSummary, ratio: Interval, sides: list[Cell], *, is_best: bool
) -> str:
    by = with_framework(fast.settings, *sides)
    if on_one_machine(slow, fast):
        how = f"at {_its(fast)} best" if is_best else f"in cell {fast.cell}"
        return f"{how}{by}, {short_name(fast)} {_train(fast)} this network {_times(ratio)} {_the_same(slow, fast)}"
    them = "them" if _is_plural(slow) else "it"
    typed = f"as people use {them}" if is_typed(slow.settings) else f"in cell {slow.cell}"
    typed += with_framework(slow.settings, *sides)
    return f"{where(fast)}{by} {_train(fast)} this network {_times(ratio)} {where(slow)} {typed}"


def on_one_machine(one: CellSummary, other: CellSummary) -> bool:
    """Tell whether two cells were timed on the same hardware in the same place: an import's is another."""
    return (one.hardware, node_of(one.cell)) == (other.hardware, node_of(other.cell))


def short_name(row: CellSummary) -> str:
    """Return hardware as people name it: "one NVIDIA H100", "4 NVIDIA H100 GPUs", "one of 16 Intel Xeon cores"."""
    count, name = _count_and_name(row)
    if row.device == "cpu":
        used = _cores_used(row, count)
        several = f"{name} core{'s' if count > 1 else ''}"
        return f"{count} {several}" if used == count else f"{'one' if used == 1 else used} of {count} {several}"
    if count == 1:
        return f"one {name}"
    return f"{count} {name}s" if name.endswith("GPU") else f"{count} {name}{'' if 'GPU' in name else ' GPUs'}"


def where(row: CellSummary) -> str:
    """Return hardware as people name it, and the node that an imported cell was timed on."""
    return on_node(short_name(row), row.cell)


def _the_same(slow: CellSummary, fast: CellSummary) -> str:
    """Return how the slower of two cells of one machine was used, and by how many cores where that is not the same."""
    typed = "with the code that people usually write" if is_typed(slow.settings) else f"in cell {slow.cell}"
    typed += with_framework(slow.settings, fast.settings, word="in" if is_typed(slow.settings) else "with")
    cores = _count_and_name(slow)[0]
    used = _cores_used(slow, cores)
    if slow.device != "cpu" or used == _cores_used(fast, cores):
        return typed
    return f"all {cores} {typed}" if used == cores else f"{'one' if used == 1 else used} of them {typed}"


def _cores_used(row: CellSummary, cores: int) -> int:
    """Return how many of the cores a CPU cell's threads can use: a share of them is known by what torch reported."""
    asked = row.settings.threads
    return cores if asked is None else min(asked if isinstance(asked, int) else row.threads, cores)


def _count_and_name(row: CellSummary) -> tuple[int, str]:
    """Return how many cores or GPUs, and the name without what nobody says."""
    parts = (CORES if row.device == "cpu" else DEVICES).fullmatch(row.hardware)
    name = parts["name"] if parts else row.hardware
    spoken = " ".join(UNSPOKEN.sub("", name).split()) or name or row.device.upper()
    return int(parts["count"]) if parts else 1, wording.cut(spoken, MOST_LETTERS)


def _is_plural(row: CellSummary) -> bool:
    count = _count_and_name(row)[0]
    return (_cores_used(row, count) if row.device == "cpu" else count) > 1


def _its(row: CellSummary) -> str:
    return "their" if _is_plural(row) else "its"


def _train(row: CellSummary) -> str:
    return "train" if _is_plural(row) else "trains"


def _times(ratio: Interval) -> str:
    return f"{wording.ratio(ratio, ' times')} as fast as"
