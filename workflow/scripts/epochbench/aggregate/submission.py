"""One export for the board: its records judged anew, and a result for each pair of machines and each network.

An export comes from a stranger. What can be checked from its records is checked here; what cannot is said on the page.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from math import isclose
from pathlib import Path

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.answer import failures
from epochbench.aggregate.machines import hardware, stack_facts
from epochbench.aggregate.plain import short_name
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.foreign import is_file, without_folder
from epochbench.records.exchange import Limits, read_export
from epochbench.stats import Interval
from epochbench.timing.cell import DEFAULTS, Cell
from epochbench.timing.protocol import DEVICE
from epochbench.timing.record import Record

# An export of 100 runs has about 0.4 MiB, 2 MiB unpacked. The first wrong record is enough to refuse the whole.
LIMITS = Limits(file_bytes=8 * 2**20, unpacked_bytes=32 * 2**20, members=2_000, wrong=1)
# Of the text that a stranger wrote, as it is shown.
MOST_LETTERS = 60
# What says where a cell runs, not what it does; and what a table is about anyway.
BESIDE_THE_WORK = ("gpu_model", "constraint", "model", "batch_size")
# Times are recorded in full, their sums rounded to a millisecond.
ROUNDING_SECONDS = 0.01


@dataclass(frozen=True)
class Work:
    """What was timed: only results that agree in all of it stand in one table."""

    fingerprint: str  # of the images
    model: str  # the network
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

    digest: str  # of the export's records
    address: str  # its permanent one, on the board's page
    files: list[str]  # the exports that hold it
    work: Work  # what was timed
    data: str  # what the records call the images
    synthetic: bool  # whether they say that these are made up
    train_images: int  # images in an epoch
    best: Side  # the fastest GPU cell; without a GPU the fastest CPU cell
    baseline: Side  # the CPU as its sheet's baseline uses it
    best_cpu: Side | None  # the fastest CPU cell; None where it is one of the two
    over_baseline: Interval  # how many times as fast as the baseline
    over_best_cpu: Interval | None  # how many times as fast as the fastest CPU cell; None where there is none
    has_gpu: bool  # whether a GPU leads
    torch: str  # versions
    python: str  # versions
    cuda: str  # versions; none without
    measured: str  # when its first run began, ISO 8601
    first_loss: float | None  # of the baseline's first step, which data, network and seed decide
    seed: int  # of the weights
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
class Submission:
    """What came of one export: its results, or the reason why it was refused."""

    file: str  # as it was named
    digest: str = ""  # of its records
    results: list[Result] = field(default_factory=list)
    runs: frozenset[str] = frozenset()  # a word for each run, the same in whichever export it is
    refused: str = ""  # why; empty where it was not


def shown(text: str, most: int = MOST_LETTERS) -> str:
    """Return a stranger's text as it may be shown: one line, without what cannot be seen, cut where it runs on."""
    plain = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return plain if len(plain) <= most else f"{plain[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def judge(path: str, settings: Settings, known_code: frozenset[str]) -> Submission:
    """Read and judge one export; whatever is wrong with it becomes the reason why it is refused."""
    file = shown(Path(path).name, 100)
    try:
        return _judged(path, file, settings, known_code)
    except BenchmarkError as error:
        return Submission(file, refused=shown(in_one_line(error).removeprefix(f"{path}: "), 500))


def _judged(path: str, file: str, settings: Settings, known_code: frozenset[str]) -> Submission:
    export = read_export(path, LIMITS)
    for wrong in export.left_out:
        member = wrong.file.removeprefix(f"{path}: ")
        raise BenchmarkError(f"{member}: {wrong.reason.removeprefix(f'{member}: ')}")
    for reason in _contradictions(export.records):
        raise BenchmarkError(reason)
    whole = _Pair(export.records, aggregate(export.records, replace(settings, best=""), []))
    wrong_numbers = failures(whole.summary)
    if wrong_numbers:
        more = f"; and {len(wrong_numbers) - 1} more" if len(wrong_numbers) > 1 else ""
        raise BenchmarkError(f"a hard gate failed: {wrong_numbers[0]}{more}")
    pairs = [pair for pair in _pairs(whole, settings) if pair.summary.headline]
    if not pairs:
        raise BenchmarkError(
            "it has no CPU cell beside a faster or slower one of the same data, network and batch size"
        )
    results = [_result(pair, file, export.digest, number, known_code) for number, pair in enumerate(pairs, start=1)]
    return Submission(file, export.digest, results, frozenset(map(_run_word, export.records)))


def _run_word(record: Record) -> str:
    """Return a word for a run that it keeps in every export and every version of a record."""
    return f"{record.machine.fingerprint} {record.started_at} {record.timing.epoch_seconds[0]!r}"


def _contradictions(records: list[Record]) -> Iterator[str]:
    """Yield in what the records contradict themselves or each other, as those of a run never do."""
    for (cell, run), count in Counter((record.cell.cell, record.run) for record in records).items():
        if count > 1:
            yield f"{cell} run {run} is there {count} times"
    times = [tuple(record.timing.epoch_seconds) for record in records]
    for record, every in zip(records, times, strict=True):
        who = f"{record.cell.cell} run {record.run}"
        if len(every) > 1 and times.count(every) > 1:
            yield f"{who}: another run has the very same times"
        yield from (f"{who}: {reason}" for reason in _against_itself(record))


def _against_itself(record: Record) -> Iterator[str]:
    timing, epochs = record.timing, len(record.timing.epoch_seconds)
    seconds = sum(timing.epoch_seconds)
    if record.tries and record.tries[-1].epoch_seconds != timing.epoch_seconds:
        yield "its last try has other times than the run"
    rate = record.dataset.train_images * epochs / seconds
    if record.cell.processes == 1 and not isclose(timing.images_per_second, rate, rel_tol=1e-6):
        yield f"it says {timing.images_per_second:.6g} images a second, but its times make {rate:.6g}"
    if timing.warmup_seconds + seconds > record.wall_seconds + ROUNDING_SECONDS:
        yield f"its steps take {timing.warmup_seconds + seconds:.6g} s, but the whole run {record.wall_seconds:.6g} s"
    try:
        datetime.fromisoformat(record.started_at)
    except ValueError:
        yield f"it began at '{shown(record.started_at)}', which is no time"


@dataclass(frozen=True)
class _Pair:
    """The cells of one network that ran on one CPU and one kind of GPU, or on that CPU alone."""

    records: list[Record]
    summary: Summary


def _pairs(whole: _Pair, settings: Settings) -> Iterator[_Pair]:
    """Yield every pair of machines, for each network and each data set; an export of one pair is that pair."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in whole.records:
        groups.setdefault((record.dataset.fingerprint, record.cell.model), []).append(record)
    for group in groups.values():
        gpus = _by_hardware(group, "gpu")
        for cpu in _cpus_with_baseline(_by_hardware(group, "cpu")):
            name = _baseline(cpu, settings.baseline)
            for gpu in gpus or [[]]:
                if len(cpu) + len(gpu) == len(whole.records) and name == whole.summary.settings.baseline:
                    yield whole
                else:
                    chosen = replace(settings, baseline=name, best="")
                    yield _Pair([*cpu, *gpu], aggregate([*cpu, *gpu], chosen, []))


def _by_hardware(records: list[Record], device: str) -> list[list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.cell.device == device:
            found.setdefault(hardware(record), []).append(record)
    return list(found.values())


def _cpus_with_baseline(cpus: list[list[Record]]) -> list[list[Record]]:
    """Return the CPUs that ran what people type; all of them where none did."""
    typed = [runs for runs in cpus if any(not _set_by(run.cell) for run in runs)]
    return typed or cpus


def _baseline(runs: list[Record], asked: str) -> str:
    """Return a CPU's baseline: the cell that the config names, else what people type, else the first."""
    return min(runs, key=lambda run: (run.cell.cell != asked, _set_by(run.cell) != "")).cell.cell


def _set_by(cell: Cell) -> str:
    """Return what a row of the sheet sets, in words, beside what a table of the board is about."""
    names = [name for name in DEFAULTS if name not in BESIDE_THE_WORK and getattr(cell, name) != DEFAULTS[name]]
    return ", ".join(f"{name.replace('_', ' ')} {shown(str(getattr(cell, name)))}" for name in names)


def _timed(record: Record) -> str:
    """Return the same of a baseline, and where its images begin, if not on the device."""
    where = f"images that begin in the {record.protocol.residency}'s memory"
    return ", ".join(filter(None, [_set_by(record.cell), where if record.protocol.residency != DEVICE else ""]))


def _network(record: Record) -> str:
    """Return what a table calls its network; of a user's own file with its digest, since others may call theirs so."""
    own = record.network is not None and is_file(record.cell.model)
    digest = f" ({record.network.source.rpartition('SHA-256 ')[2][:8]})" if own else ""
    return shown(without_folder(record.cell.model), MOST_LETTERS - len(digest)) + digest


def _result(pair: _Pair, file: str, digest: str, number: int, known_code: frozenset[str]) -> Result:
    leading = pair.summary.headline
    rows = {row.cell: row for row in pair.summary.cells}
    fair = leading.fair
    sides = [rows[name] for name in (leading.best, leading.baseline, *([fair.cell] if fair else []))]
    runs = [[run for run in pair.records if run.cell.cell == row.cell] for row in sides]
    every, first = [run for side in runs for run in side], min(runs[1], key=lambda run: run.run)
    facts = _one_stack(sides, runs, every)
    return Result(
        digest=digest,
        address=digest[:12] if number == 1 else f"{digest[:12]}-{number}",
        files=[file],
        work=Work(first.dataset.fingerprint, _network(first), first.cell.batch_size, _timed(first)),
        data=shown(first.dataset.name),
        synthetic=first.dataset.synthetic,
        train_images=first.dataset.train_images,
        best=_side(sides[0]),
        baseline=_side(sides[1]),
        best_cpu=_side(sides[2]) if fair else None,
        over_baseline=leading.speedup,
        over_best_cpu=fair.speedup if fair else None,
        has_gpu=sides[0].device == "gpu",
        **_versions(every),
        measured=min(run.started_at for run in every),
        first_loss=next(iter(first.training.warmup_losses), None),
        seed=first.protocol.seed,
        code=shown(first.code.digest),
        commit=shown(first.code.commit) if first.code.commit else None,
        known_code=all(run.code.digest in known_code for run in every),
        nodes=_listed(run.machine.node for run in every),
        setup=f"{sorted({run.machine.fingerprint for run in every})} {sorted(facts.items())}",
        runs=len(every),
        **_gates(sides),
        remarks=_remarks(sides),
    )


def _side(row: CellSummary) -> Side:
    joules = row.gpu_joules_per_epoch if row.device == "gpu" else row.cpu_joules_per_epoch
    precision = shown(row.settings.precision)
    return Side(shown(row.cell), shown(short_name(row)), precision, row.epoch_seconds, joules, row.cost_per_epoch)


def _one_stack(sides: list[CellSummary], runs: list[list[Record]], every: list[Record]) -> dict[str, str]:
    """Return the software that all sides were timed with. Raises BenchmarkError where they differ in it.

    A GPU has facts that no CPU has, such as its driver.
    """
    facts = [stack_facts(side, every) for side in runs]
    for row, one in zip(sides, facts, strict=True):
        for name, value in one.items():
            if name in facts[0] and facts[0][name] != value:
                versions = f"{name} {shown(facts[0][name])} against {shown(value)}"
                raise BenchmarkError(f"{sides[0].cell} and {row.cell} have different software or settings: {versions}")
    return {name: value for one in facts for name, value in one.items()}


def _versions(runs: list[Record]) -> dict[str, str]:
    machines = [run.machine for run in runs]
    return {
        "torch": _listed(machine.torch for machine in machines),
        "python": _listed(machine.python for machine in machines),
        "cuda": _listed(machine.cuda or "none" for machine in machines),
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
