"""The answer as people say it: hardware by its short name, how it was used, and how many times as fast."""

import re

from epochbench import wording
from epochbench.aggregate.labels import is_typed
from epochbench.aggregate.summary import CellSummary, Fair
from epochbench.stats import Interval

# What vendors add to a processor's name and nobody says, from the clock to the memory.
UNSPOKEN = re.compile(
    r"\((R|TM|C)\)| @ .*$| \d+-Core\b| CPU\b| Processor\b| with .*Graphics$|[ -](SXM|PCIe|HBM)\w*|[ -]\d+ ?GB\b",
    re.IGNORECASE,
)
# How machines.hardware_used writes them.
CORES = re.compile(r"(?P<name>.*), (?P<count>\d+) cores")
DEVICES = re.compile(r"(?P<count>\d+) x (?P<name>.*)")


def plain_sentence(slow: CellSummary, fast: CellSummary, ratio: Interval, *, fair: Fair | None, is_best: bool) -> str:
    """Return the comparison in words that need no knowledge of cells, without a full stop.

    `ratio` is how many times as fast `fast` trains as `slow`; `fair` the same over the fastest CPU cell, on the machine
    of `slow`; `is_best` tells whether `fast` was picked as the fastest there.
    """
    if slow.hardware == fast.hardware:
        typed = "with the code that people usually write" if is_typed(slow.settings) else f"in cell {slow.cell}"
        how = f"at {'their' if _is_plural(fast) else 'its'} best" if is_best else f"in cell {fast.cell}"
        said = f"{how}, {short_name(fast)} {_train(fast)} this network {_times(ratio)} {typed}"
    else:
        them = "them" if _is_plural(slow) else "it"
        typed = f"as people use {them}" if is_typed(slow.settings) else f"in cell {slow.cell}"
        said = f"{short_name(fast)} {_train(fast)} this network {_times(ratio)} {short_name(slow)} {typed}"
    if fair and slow.device == "cpu":
        said += f", and {_times(fair.speedup)} the same processor at its best"
    return said[0].upper() + said[1:]


def short_name(row: CellSummary) -> str:
    """Return hardware as people name it: "one NVIDIA H100", "4 NVIDIA H100 GPUs", "16 Intel Xeon cores"."""
    count, name = _count_and_name(row)
    if row.device == "cpu":
        return f"{count} {name} core{'s' if count > 1 else ''}"
    return f"{count} {name} GPUs" if count > 1 else f"one {name}"


def _count_and_name(row: CellSummary) -> tuple[int, str]:
    """Return how many cores or GPUs, and the name without what nobody says."""
    parts = (CORES if row.device == "cpu" else DEVICES).fullmatch(row.hardware)
    name = parts["name"] if parts else row.hardware
    return int(parts["count"]) if parts else 1, " ".join(UNSPOKEN.sub("", name).split()) or name


def _is_plural(row: CellSummary) -> bool:
    return _count_and_name(row)[0] > 1


def _train(row: CellSummary) -> str:
    return "train" if _is_plural(row) else "trains"


def _times(ratio: Interval) -> str:
    return f"{wording.ratio(ratio, ' times')} as fast as"
