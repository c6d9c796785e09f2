"""The machines and the code that the records come from."""

from dataclasses import asdict, fields, replace

from epochbench.aggregate.framework_names import is_of_framework
from epochbench.aggregate.summary import CodeVersion, Difference, MachineSummary, NodeValue
from epochbench.documents import to_dict
from epochbench.timing.floors import highest
from epochbench.timing.frameworks import TORCH
from epochbench.timing.record import Record
from epochbench.timing.stack import fact_of
from epochbench.unseen import visible


def hardware(record: Record) -> str:
    """Return the words for what a record was timed on: the GPU, or the CPU and its usable cores."""
    machine = record.machine
    if machine.gpu:
        return visible(machine.gpu.name).strip() or "GPU"
    return f"{visible(machine.cpu).strip() or 'CPU'}, {machine.cores_usable} cores"


def hardware_used(record: Record) -> str:
    """Return the same with the number of devices before it, where a cell used several: 4 x NVIDIA H200."""
    count = devices_used(record)
    return f"{count} x {hardware(record)}" if count > 1 else hardware(record)


def devices_used(record: Record) -> int:
    """Return how many devices a cell used: each process has a GPU of its own, while all share the processor."""
    return record.cell.processes if record.machine.gpu else 1


def machines(records: list[Record]) -> list[MachineSummary]:
    """Return every machine that a record names, once, with the highest peaks that any of its runs reached.

    Versions are those of PyTorch's runs where there are any: another framework's environment need not have torch.
    """
    known, first = {}, {}
    for record in records:
        key = record.machine.fingerprint, hardware(record)
        told = first.setdefault(key, record)
        if told.cell.framework != TORCH == record.cell.framework:
            first[key] = record
        known[key] = highest(known.get(key), record.peaks) if record.peaks else known.get(key)
    return [replace(_machine(first[key]), peaks=peaks) for key, peaks in known.items()]


def _machine(record: Record) -> MachineSummary:
    facts = {
        field.name: getattr(record.machine, field.name) for field in fields(MachineSummary) if field.name != "peaks"
    }
    named = {name: visible(value) for name, value in facts.items() if isinstance(value, str)}
    return MachineSummary(**facts | named, peaks=None)


def code_versions(records: list[Record]) -> list[CodeVersion]:
    """Return every version of the code that measured, and the protocol it followed, once."""
    known = {}
    for record in records:
        key = record.code.digest, record.code.commit
        known.setdefault(key, CodeVersion(**asdict(record.code), **asdict(record.protocol)))
    return list(known.values())


def differences(between: list[MachineSummary]) -> list[Difference]:
    """Return the facts in which machines differ, each with every machine's value as plain data."""
    rows = [to_dict(machine) for machine in between]
    facts = [field.name for field in fields(MachineSummary) if field.name not in ("fingerprint", "node", "peaks")]
    return [
        Difference(fact, [NodeValue(machine.node, row[fact]) for machine, row in zip(between, rows, strict=True)])
        for fact in facts
        if any(row[fact] != rows[0][fact] for row in rows)
    ]


def stack_facts(runs: list[Record], every: list[Record]) -> dict[str, str]:
    """Return each fact of the runs' stack, several values separated by commas.

    Where a record of `every` is older than the stack, these are the versions that all of them have.
    """
    if all(run.stack for run in every):
        facts = [run.stack.facts for run in runs]
    else:
        facts = [
            {"torch": run.machine.torch, "CUDA": run.machine.cuda or "none", "Python": run.machine.python}
            for run in runs
        ]
    names = dict.fromkeys(name for each in facts for name in each)
    return {name: ", ".join(sorted({each.get(name, "none") for each in facts})) for name in names}


def other_software(runs: list[Record], others: list[Record]) -> list[str]:
    """Return in words in what software and settings two sets of runs differ: "torch 2.11 against 2.15".

    That two frameworks are other packages, with variables of their own, goes without saying.
    """
    one, other = ({run.cell.framework for run in side} for side in (runs, others))
    own = [] if one == other else one | other
    return [
        "other protocol" if name == "protocol" else f"{name} {value} against {beside}"
        for name, (value, beside) in differing_facts(runs, others).items()
        if not (own and is_of_framework(name, own))
    ]


def differing_facts(runs: list[Record], others: list[Record]) -> dict[str, tuple[str, str]]:
    """Return the facts of the stack in which two sets of runs differ, with both values.

    One that either side leaves open is none: a GPU has facts that no CPU has, such as its driver, and older records
    have fewer.
    """
    one, other = (stack_facts(side, [*runs, *others]) for side in (runs, others))
    pairs = {name: (fact_of(one, name), fact_of(other, name)) for name in {**one, **other}}
    return {name: pair for name, pair in pairs.items() if None not in pair and pair[0] != pair[1]}
