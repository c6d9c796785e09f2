"""The kinds of device: one file each, discovered by its name.

A file has these names; none of them imports torch before `open_device`, so that the Snakefile can ask too:

    SERVES                      the word of the sheet's column `device` that it serves: "cpu" or "gpu"
    find() -> tuple[Gpu, ...]   the accelerators of this kind that this process may use
    prepare(environment)        changes the environment before torch is imported
    open_device(cell, index)    a timing.device.Device with its arithmetic set as the cell says; raises BenchmarkError
                                where there is none, or where it cannot do what the cell asks; what it says of its
                                precisions and of graphs is checked here
    hide(environment)           of accelerators: changes the environment so that none of them can be used
    FACTS                       may be left out: a timing.device.Facts, what docs/devices.md shows and the plan obeys
    lacks(cell) -> str | None   may be left out: what else the device here lacks to run a cell, in words
    unseen() -> str | None      may be left out: why nobody could look for such devices, in words
    unusable() -> str | None    may be left out: why such a device is here and not found all the same, in words
    built_for(torch) -> bool    may be left out: whether a torch is built for this kind
    card(gpu) -> Card | None    may be left out: a card as its driver tells of it, without torch; without `gpu` the one
                                that other frameworks take
    installed() -> dict         may be left out: the versions and settings of this kind that make records stale

A name that begins with _ is no kind: _accelerator.py has what accelerators share, _torch_cuda.py what the two kinds
that torch calls `cuda` do. drivers/ has what each maker's driver tells.
"""

import importlib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from types import ModuleType

from epochbench.errors import BenchmarkError
from epochbench.timing.cell import Cell
from epochbench.timing.device import Device, Facts
from epochbench.timing.devices._card import Card
from epochbench.timing.frameworks import TORCH
from epochbench.timing.record import Gpu


def kinds(device: str) -> list[ModuleType]:
    """Return the kinds that serve a word of the sheet's column `device`, in the order of their files' names."""
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    every = [importlib.import_module(f"{__name__}.{name}") for name in names]
    return [kind for kind in every if device == kind.SERVES]


def accelerators() -> tuple[Gpu, ...]:
    """Return the accelerators of every kind that this process may use."""
    return tuple(gpu for kind in kinds("gpu") for gpu in kind.find())


def unseen() -> str | None:
    """Return in words why nobody could look for accelerators of some kind, None where somebody could."""
    return _first_word("unseen")


def unusable() -> str | None:
    """Return in words why an accelerator that is here is not among those found, None where there is no such."""
    return _first_word("unusable")


def _first_word(name: str) -> str | None:
    words = [getattr(kind, name)() for kind in kinds("gpu") if hasattr(kind, name)]
    return next((word for word in words if word), None)


def installed() -> dict[str, object]:
    """Return what is known without torch of the software and settings of the devices that there are."""
    facts = [kind.installed() for kind in kinds("gpu") if hasattr(kind, "installed")]
    return {name: fact for each in facts for name, fact in each.items()}


def card(gpu: Gpu | None = None) -> Card | None:
    """Return a card as its driver tells of it, by default the one that frameworks take; None for none."""
    cards = (kind.card(gpu) for kind in kinds("gpu") if hasattr(kind, "card"))
    return next(filter(None, cards), None)


def facts() -> dict[str, Facts]:
    """Return what is to be said of each kind of accelerator, by its name."""
    return {_name(kind): kind.FACTS for kind in kinds("gpu") if hasattr(kind, "FACTS")}


def variables() -> tuple[str, ...]:
    """Return the patterns of the environment variables that decide a timing on some kind of accelerator."""
    return tuple(pattern for each in facts().values() for pattern in each.variables)


def shown_variables() -> tuple[str, ...]:
    """Return the environment variables of accelerators that a record shows."""
    return tuple(name for each in facts().values() for name in each.shown_variables)


def manufacturers() -> dict[str, Facts]:
    """Return the makers of accelerators that a cluster can be asked for, and what is to be said of theirs."""
    return {each.manufacturer: each for each in facts().values() if each.manufacturer}


def tool_of(cell: Cell) -> str:
    """Return where the maker of a cell's device tells of failures; an empty text of a processor."""
    told = getattr(kind_of(cell), "FACTS", None)
    return told.tool if told else ""


def lacking(cell: Cell) -> str | None:
    """Return in words why no device here can run a cell, None where one can, or where nobody tells beforehand."""
    kind = kind_of(cell)
    told = lacking_by(getattr(kind, "FACTS", None), cell)
    return told or (kind.lacks(cell) if hasattr(kind, "lacks") else None)


def lacking_by(facts: Facts | None, cell: Cell) -> str | None:
    """Return in words what a whole kind of accelerator lacks to run a cell, None where it lacks nothing."""
    if facts and cell.framework != TORCH and not facts.other_frameworks:
        return f"{facts.hardware} are timed with torch alone, not with other frameworks"
    for column, values in (facts.lacks if facts else {}).items():
        if why := values.get(getattr(cell, column)):
            return f"{facts.hardware} have no {column} {getattr(cell, column)} here ({why})"
    return None


def kind_of(cell: Cell) -> ModuleType:
    """Return the kind that a cell trains on: the first of which there is a device here, or else the first.

    One that torch here cannot use counts too, where no other does: a job's own torch may be another.
    """
    serving = kinds(cell.device)
    found = (kind for kind in serving if kind.find())
    there = (kind for kind in serving if hasattr(kind, "unusable") and kind.unusable())
    return next(chain(found, there), serving[0])


def open_device(cell: Cell, index: int = 0) -> Device:
    """Return the device that a cell trains on, with its arithmetic set as the cell says; `index` counts from 0.

    Raises BenchmarkError where there is no such device (a GPU cell never falls back to the CPU), and where its kind
    lacks the cell's precision, cannot capture a graph, or lacks another of its settings.
    """
    kind = next(_to_open(cell))
    device = kind.open_device(cell, index)
    name = _name(kind)
    if cell.precision not in device.precisions:
        has = ", ".join(device.precisions)
        raise BenchmarkError(f"cell '{cell.cell}': precision {cell.precision}, but a device of kind {name} has {has}")
    if cell.captures_graph and not device.can_capture:
        raise BenchmarkError(
            f"cell '{cell.cell}': execution {cell.execution}, but a device of kind {name} cannot capture a graph; "
            "choose eager or compile"
        )
    if told := lacking_by(getattr(kind, "FACTS", None), cell):
        raise BenchmarkError(f"cell '{cell.cell}': {told}")
    return device


def _to_open(cell: Cell) -> Iterator[ModuleType]:
    """Yield the kinds to open, best first: one found here, one that torch is built for, one that it cannot use, any."""
    import torch

    serving = kinds(cell.device)
    yield from (kind for kind in serving if kind.find())
    yield from (kind for kind in serving if hasattr(kind, "built_for") and kind.built_for(torch))
    yield kind_of(cell)


def _name(kind: ModuleType) -> str:
    return kind.__name__.rpartition(".")[2]
