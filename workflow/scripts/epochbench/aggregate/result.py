"""A result of the board: one pair of machines on one network, from the records of an export that passed."""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from epochbench.aggregate.baseline import does_the_same_work
from epochbench.aggregate.framework_names import versions_of
from epochbench.aggregate.machines import stack_facts
from epochbench.aggregate.plain import short_name
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.errors import BenchmarkError
from epochbench.foreign import is_file, without_folder
from epochbench.records.contradictions import started
from epochbench.stats import Interval
from epochbench.timing.cell import DEFAULTS, Cell
from epochbench.timing.protocol import DEVICE, Protocol
from epochbench.timing.record import Record
from epochbench.timing.stack import is_variable

# Of the text that a stranger wrote, as it is shown.
MOST_LETTERS = 60
# What says where a cell runs, not what it does; and what a table is about anyway.
BESIDE_THE_WORK = ("gpu_model", "constraint", "model", "framework", "batch_size")
# Of a result's digest: nobody finds another export with the same 64 bits.
ADDRESS_LETTERS = 16


@dataclass(frozen=True)
class Work:
    """What was timed: only results that agree in all of it stand in one table."""

    fingerprint: str  # of the images
    train_images: int  # in an epoch
    model: str  # the network
    parameters: int  # of it: two networks may have one name
    framework: str  # what trained it, the sheet's word
    batch_size: int  # images in a step
    baseline: str  # what the baseline's row of the sheet sets, in words; empty where it is what people type


@dataclass(frozen=True)
class Side:
    """One cell of a result."""

    cell: str  # its name
    hardware: str  # as people name it
    precision: str  # its arithmetic
    epoch_seconds: Interval  # the typical epoch, s
    joules_per_epoch: float | None  # by the hardware's own counters, J; None where nobody could read them
    cost_per_epoch: float | None  # in the settings' currency; None without a price


@dataclass(frozen=True)
class Result:
    """One pair of machines on one network: the fastest cell against the baseline, and against the best CPU cell."""

    digest: str  # of its records
    address: str  # its permanent one, on the board's page
    files: list[str]  # the exports that hold it
    work: Work  # what was timed
    data: str  # what the records call the images
    synthetic: bool  # whether they say that these are made up
    best: Side  # the fastest GPU cell; without a GPU the fastest CPU cell
    baseline: Side  # the CPU as its sheet's baseline uses it
    best_cpu: Side | None  # the fastest CPU cell; None where it is one of the two
    over_baseline: Interval  # how many times as fast as the baseline
    over_best_cpu: Interval | None  # how many times as fast as the fastest CPU cell; None where there is none
    cpu_cells: int  # cells of the CPU among which the fastest is
    has_gpu: bool  # whether a GPU leads
    torch: str  # versions
    versions: str  # of the framework's packages
    python: str  # versions
    cuda: str  # versions; none without
    measured: str  # when its first run began, ISO 8601
    first_losses: list[float]  # of each run's first step, the baseline's first; data, network and seed decide them
    flop_per_epoch: float | None  # as the records counted them
    seed: int  # of the weights
    asked: str  # what a run had to time at least, in words
    code: str  # the digest of the code that measured
    commit: str | None  # its commit, as the records say
    known_code: bool  # whether this repository has or had that code
    nodes: str  # host names
    setup: str  # the machines and the software in one word: equal for a repetition
    runs: int  # of its cells
    passed: int  # hard gates that every cell of it passed
    doubts: list[str]  # soft gates that failed, as cell: gate
    unjudged: list[str]  # hard gates that could not be judged on some run
    remarks: list[str]  # what else a reader must know


@dataclass(frozen=True)
class Pair:
    """The cells of one network that ran on one CPU and one kind of GPU, or on that CPU alone."""

    records: list[Record]
    summary: Summary


def shown(text: str, most: int = MOST_LETTERS) -> str:
    """Return a stranger's text as it may be shown: one line, without what cannot be seen, cut where it runs on."""
    text = unicodedata.normalize("NFC", text[: 10 * most])
    plain = "".join("\N{REPLACEMENT CHARACTER}" if _is_unseemly(letter) else letter for letter in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def _is_unseemly(letter: str) -> bool:
    """Tell whether a letter steers what is around it, or is piled upon it."""
    return not letter.isprintable() or unicodedata.combining(letter) != 0


def set_by(cell: Cell) -> str:
    """Return what a row of the sheet sets, in words, beside what a table of the board is about."""
    names = [name for name in DEFAULTS if name not in BESIDE_THE_WORK and getattr(cell, name) != DEFAULTS[name]]
    return ", ".join(f"{name.replace('_', ' ')} {shown(str(getattr(cell, name)))}" for name in names)


def result_of(pair: Pair, file: str, digest: str, known_code: frozenset[str]) -> Result:
    """Return the result of a pair with a headline. Raises BenchmarkError where its sides were not timed alike."""
    leading = pair.summary.headline
    rows = {row.cell: row for row in pair.summary.cells}
    fair = leading.fair
    sides = [rows[name] for name in (leading.best, leading.baseline, *([fair.cell] if fair else []))]
    runs = [[run for run in pair.records if run.cell.cell == row.cell] for row in sides]
    every, first = [run for side in runs for run in side], min(runs[1], key=lambda run: run.run)
    facts = _one_stack(sides, runs, every)
    return Result(
        digest=digest,
        address=digest[:ADDRESS_LETTERS],
        files=[file],
        work=_work(first),
        data=shown(first.dataset.name),
        synthetic=first.dataset.synthetic,
        best=_side(sides[0]),
        baseline=_side(sides[1]),
        best_cpu=_side(sides[2]) if fair else None,
        over_baseline=leading.speedup,
        over_best_cpu=fair.speedup if fair else None,
        cpu_cells=sum(row.device == "cpu" and row.valid and does_the_same_work(row, sides[1]) for row in rows.values()),
        has_gpu=sides[0].device == "gpu",
        first_losses=list(dict.fromkeys(run.training.warmup_losses[0] for run in (first, *every))),
        flop_per_epoch=first.limit.flop_per_epoch if first.limit else None,
        seed=first.protocol.seed,
        asked=_asked(first.protocol),
        **_origin(every, known_code),
        setup=f"{sorted({run.machine.fingerprint for run in every})} {sorted(facts.items())}",
        runs=len(every),
        **_gates(sides),
        remarks=[*_remarks(sides), *_missing(runs), *_variables(every)],
    )


def _work(first: Record) -> Work:
    return Work(
        fingerprint=first.dataset.fingerprint,
        train_images=first.dataset.train_images,
        model=_network(first),
        parameters=first.training.parameters,
        framework=shown(first.cell.framework),
        batch_size=first.cell.batch_size,
        baseline=_baseline(first),
    )


def _network(record: Record) -> str:
    """Return what a table calls its network; of a user's own file with its digest, since others may call theirs so."""
    own = record.network is not None and is_file(record.cell.model)
    digest = f" ({record.network.source.rpartition('SHA-256 ')[2][:8]})" if own else ""
    return shown(without_folder(record.cell.model), MOST_LETTERS - len(digest)) + digest


def _baseline(record: Record) -> str:
    """Return what a baseline's row sets, and what is not as published: where its images begin, its optimiser."""
    protocol = record.protocol
    elsewhere = f"images that begin in the {protocol.residency}'s memory" if protocol.residency != DEVICE else ""
    optimizer = "" if protocol.optimizer == "sgd" else f"weights updated by {protocol.optimizer}"
    return ", ".join(filter(None, [set_by(record.cell), elsewhere, optimizer]))


def _asked(protocol: Protocol) -> str:
    least = f"{protocol.min_epochs} epochs, {protocol.min_steps} steps, {protocol.min_seconds:g} s"
    return f"{least} after {protocol.warmup_steps} warm-up steps"


def _side(row: CellSummary) -> Side:
    joules = row.gpu_joules_per_epoch if row.device == "gpu" else row.cpu_joules_per_epoch
    precision = shown(row.settings.precision)
    return Side(shown(row.cell), shown(short_name(row)), precision, row.epoch_seconds, joules, row.cost_per_epoch)


def _one_stack(sides: list[CellSummary], runs: list[list[Record]], every: list[Record]) -> dict[str, str]:
    """Return the software that all sides were timed with.

    A GPU has facts that no CPU has, such as its driver. Raises BenchmarkError where the sides differ in it, or in the
    protocol.
    """
    if len({run.protocol for run in every}) > 1:
        raise BenchmarkError(f"{', '.join(row.cell for row in sides)} were not timed by one protocol")
    facts = [stack_facts(side, every) for side in runs]
    for row, one in zip(sides, facts, strict=True):
        for name, value in one.items():
            if name in facts[0] and facts[0][name] != value:
                versions = f"{name} {shown(facts[0][name])} against {shown(value)}"
                raise BenchmarkError(f"{sides[0].cell} and {row.cell} have different software or settings: {versions}")
    return {name: value for one in facts for name, value in one.items()}


def _origin(runs: list[Record], known_code: frozenset[str]) -> dict[str, str | bool | None]:
    """Return where and when the runs were timed, and by what code; the sides of a result have the same."""
    machines, code = [run.machine for run in runs], runs[0].code
    return {
        "torch": _listed(machine.torch for machine in machines),
        "versions": shown(versions_of(runs)),
        "python": _listed(machine.python for machine in machines),
        "cuda": _listed(machine.cuda or "none" for machine in machines),
        "nodes": _listed(machine.node for machine in machines),
        "measured": min(map(started, runs)).isoformat(),
        "code": shown(code.digest),
        "commit": shown(code.commit) if code.commit else None,
        "known_code": all(run.code.digest in known_code for run in runs),
    }


def _listed(words: Iterator[str]) -> str:
    return shown(", ".join(dict.fromkeys(words)))


def _gates(sides: list[CellSummary]) -> dict[str, int | list[str]]:
    """Return how the sides' gates went; a hard one that failed has refused the export long before."""
    hard: dict[str, list[bool | None]] = {}
    for row in sides:
        for finding in row.gates:
            if finding.severity == "hard":
                hard.setdefault(finding.gate, []).append(finding.passed)
    soft = [f"{shown(row.cell)}: {each.gate}" for row in sides for each in row.gates if each.passed is False]
    passed = [name for name, verdicts in hard.items() if all(verdicts)]
    return {"passed": len(passed), "doubts": soft, "unjudged": [name for name in hard if name not in passed]}


def _remarks(sides: list[CellSummary]) -> list[str]:
    few = min(row.runs for row in sides)
    disturbed = sum(row.disturbed_runs for row in sides)
    rules = (
        (few < 2, "one run only, so no interval"),
        (disturbed, f"{disturbed} of its runs were disturbed"),
    )
    return [remark for applies, remark in rules if applies]


def _missing(runs: list[list[Record]]) -> Iterator[str]:
    """Yield a remark on each side whose runs are not numbered from 1 on, or fewer than were asked for."""
    for side in runs:
        numbers = {run.run for run in side}
        asked = max([*numbers, *(run.first_runs or 0 for run in side)])
        if len(numbers) < asked:
            yield f"{asked - len(numbers)} of {asked} runs of {shown(side[0].cell.cell)} are missing"


def _variables(runs: list[Record]) -> list[str]:
    """Return the environment variables that decide a timing and were set for any of the runs."""
    every = (fact for run in runs for fact in _environment(run).items())
    facts = {f"{name}={value}" for name, value in every if is_variable(name)}
    return [f"with {shown(fact)}" for fact in sorted(facts)]


def _environment(run: Record) -> dict[str, str]:
    return run.stack.facts if run.stack else run.conditions.environment
