"""The table of docs/devices.md: what each kind of accelerator declares, side by side."""

import sys
from pathlib import Path

from epochbench.files import write_text
from epochbench.timing.cell import COLUMNS
from epochbench.timing.device import Facts
from epochbench.timing.devices import facts

# Around the tables.
BEGIN, END = "<!-- `make format` writes these tables from timing/devices/ -->", "<!-- end of the tables -->"
# Columns of the sheet of which kinds differ.
DIFFER = ("precision", "execution", "autotune", "layers")
TOLD = {
    "run on real hardware": "on_hardware",
    "torch, from": "since",
    "torch's word": "torch_type",
    "found without torch by": "found_by",
    "hidden by": "hidden_by",
    "clock": "clock",
    "memory": "memory",
    "energy": "energy",
    "clocks, limits, other processes": "clocks",
    "data-parallel processes": "processes",
}


def table() -> list[tuple[str, ...]]:
    """Return the rows of the table, of which the first is its head: a column for each kind."""
    kinds = facts()
    rows = [("", *(f"[{each.hardware}]({each.source}), `{name}.py`" for name, each in kinds.items()))]
    rows += [(words, *(getattr(each, name) for each in kinds.values())) for words, name in TOLD.items()]
    rows += [(f"`{column}`", *(_has(each, column) for each in kinds.values())) for column in DIFFER]
    return [*rows, ("on a Slurm cluster", *map(_asked, kinds.values()))]


def _has(kind: Facts, column: str) -> str:
    """Return the values of a column of the sheet that a kind has, of those that any GPU has."""
    every = COLUMNS[column].allowed()
    lacks = [value for value in every if value in kind.lacks.get(column, {})]
    return ", ".join(f"`{value}`" for value in every if value not in lacks)


def _asked(kind: Facts) -> str:
    form = {"gpus": "`--gpus=MODEL:N`", "gres": "`--gres=gpu:MODEL:N`"}[kind.slurm_form]
    return f"`cluster.gpu_manufacturer: {kind.manufacturer}`, {form}" if kind.manufacturer else "there is none"


def reasons() -> list[tuple[str, ...]]:
    """Return what each kind lacks, a row each, of which the first is the head: the kind, the setting, and why."""
    rows = [
        (each.hardware, ", ".join(f"`{value}`" for value in values), column, why)
        for each in facts().values()
        for column, why, values in _by_reason(each)
    ]
    return [("kind", "values", "column", "why"), *rows]


def _by_reason(kind: Facts) -> list[tuple[str, str, list[str]]]:
    return [
        (column, why, [value for value, other in lacks.items() if other == why])
        for column, lacks in kind.lacks.items()
        for why in dict.fromkeys(lacks.values())
    ]


def with_tables(text: str) -> str:
    """Return a Markdown text with the tables written anew between its two markers."""
    before, _, rest = text.partition(BEGIN)
    tables = "\n\n".join(_markdown(rows) for rows in (table(), reasons()))
    return f"{before}{BEGIN}\n\n{tables}\n\n{END}{rest.partition(END)[2]}"


def _markdown(rows: list[tuple[str, ...]]) -> str:
    head, *others = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([head, f"|{'---|' * len(rows[0])}", *others])


if __name__ == "__main__":
    document = Path(sys.argv[1])
    write_text(document, with_tables(document.read_text()))
