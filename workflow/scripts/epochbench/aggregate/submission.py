"""One export for the board: its records judged anew, and a result for each pair of machines and each network.

An export comes from a stranger. What can be checked from its records is checked here; what cannot is said on the page.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.answer import failures
from epochbench.aggregate.machines import hardware
from epochbench.aggregate.result import Pair, Result, result_of, set_by, shown
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.records.contradictions import contradictions
from epochbench.records.exchange import Export, Limits, read_export
from epochbench.timing.record import Record

# An export of 100 runs has about 0.4 MiB, 2 MiB unpacked. The first wrong record is enough to refuse the whole.
LIMITS = Limits(file_bytes=8 * 2**20, unpacked_bytes=32 * 2**20, members=2_000, wrong=1)
# A cluster has a few kinds of nodes; each pair is summarised by itself.
MOST_PAIRS = 50


@dataclass(frozen=True)
class Submission:
    """What came of one export: its results, or the reason why it was refused."""

    file: str  # as it was named
    results: list[Result] = field(default_factory=list)
    runs: dict[str, list[tuple[str, ...]]] = field(default_factory=dict)  # by digest: words for each run of a result
    refused: str = ""  # why; empty where it was not


def judge(path: str, settings: Settings, known_code: frozenset[str]) -> Submission:
    """Read and judge one export; whatever is wrong with it becomes the reason why it is refused."""
    # A place on somebody's disk is nobody else's business.
    file = shown(Path(path).name if Path(path).is_absolute() else path, 100)
    try:
        return _judged(path, file, settings, known_code)
    # What else a forged number leads to must not keep the other exports from the board.
    except (BenchmarkError, ArithmeticError, ValueError) as error:
        return Submission(file, refused=shown(_in_words(error, path), 500))


def _judged(path: str, file: str, settings: Settings, known_code: frozenset[str]) -> Submission:
    export = _read(path)
    # However they were packed, a result and its address are the same.
    records = sorted(export.records, key=_key)
    whole = Pair(records, aggregate(records, replace(settings, best=""), []))
    wrong_numbers = failures(whole.summary)
    if wrong_numbers:
        more = f"; and {len(wrong_numbers) - 1} more" if len(wrong_numbers) > 1 else ""
        raise BenchmarkError(f"a hard gate failed: {wrong_numbers[0]}{more}")
    pairs = _pairs(whole, settings)
    if not pairs:
        raise BenchmarkError(
            "it has no CPU cell beside a faster or slower one of the same data, network and batch size"
        )
    written = dict(zip(map(_key, export.records), export.checksums, strict=True))
    results = [result_of(pair, file, _digest(pair.records, written), known_code) for pair in pairs]
    runs = {one.digest: list(map(_run_words, pair.records)) for one, pair in zip(results, pairs, strict=True)}
    return Submission(file, results, runs)


def _read(path: str) -> Export:
    """Return an export. Raises BenchmarkError for the first thing that is wrong with it, or contradicts another."""
    if not Path(path).is_file():
        raise BenchmarkError("it is no file that can be read")
    export = read_export(path, LIMITS)
    for wrong in export.left_out:
        member = wrong.file.removeprefix(f"{path}: ")
        raise BenchmarkError(f"{member}: {wrong.reason.removeprefix(f'{member}: ')}")
    for reason in contradictions(export.records):
        raise BenchmarkError(reason)
    return export


def _in_words(error: Exception, path: str) -> str:
    """Return why an export is refused; what no check foresaw is named by its kind."""
    if isinstance(error, BenchmarkError):
        return in_one_line(error).removeprefix(f"{path}: ")
    return f"its numbers are beyond what can be computed with ({type(error).__name__}: {in_one_line(error)})"


def _pairs(whole: Pair, settings: Settings) -> list[Pair]:
    """Return the pairs of machines that have a headline; an export of one pair is that pair."""
    matched = list(_matched(whole.records))
    if len(matched) > MOST_PAIRS:
        raise BenchmarkError(f"it has {len(matched):,} pairs of machines, more than the {MOST_PAIRS} that are shown")
    pairs = []
    for cpu, gpu in matched:
        pair, name = whole, _baseline(cpu, settings.baseline)
        if len(cpu) + len(gpu) < len(whole.records) or name != whole.summary.settings.baseline:
            pair = Pair([*cpu, *gpu], aggregate([*cpu, *gpu], replace(settings, baseline=name, best=""), []))
        pairs += [pair] if pair.summary.headline else []
    return pairs


def _matched(records: list[Record]) -> Iterator[tuple[list[Record], list[Record]]]:
    """Yield the runs of every CPU and every GPU beside it, for each data set, network and framework.

    Without a GPU there are the CPU's alone. The board compares machines: one framework trains on both sides.
    """
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        work = record.dataset.fingerprint, record.cell.model, record.cell.framework
        groups.setdefault(work, []).append(record)
    for group in groups.values():
        cpus, gpus = _cpus_with_baseline(_by_hardware(group, "cpu")), _by_hardware(group, "gpu")
        yield from product(cpus, gpus or [[]])


def _by_hardware(records: list[Record], device: str) -> list[list[Record]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.cell.device == device:
            found.setdefault(hardware(record), []).append(record)
    return list(found.values())


def _cpus_with_baseline(cpus: list[list[Record]]) -> list[list[Record]]:
    """Return the CPUs that ran what people type; all of them where none did."""
    typed = [runs for runs in cpus if any(not set_by(run.cell) for run in runs)]
    return typed or cpus


def _baseline(runs: list[Record], asked: str) -> str:
    """Return a CPU's baseline: the cell that the config names, else what people type, else the first."""
    return min(runs, key=lambda run: (run.cell.cell != asked, set_by(run.cell) != "")).cell.cell


def _run_words(record: Record) -> tuple[str, ...]:
    """Return words that a run has in whichever export: where and when it was, and its times."""
    times = record.timing.epoch_seconds
    place = f"{record.machine.fingerprint} {record.cell.cell} {record.started_at}"
    # A single one may be equal by chance.
    return (place, repr(times)) if len(times) > 1 else (place,)


def _key(record: Record) -> tuple[str, int]:
    return record.cell.cell, record.run


def _digest(records: list[Record], written: dict[tuple[str, int], str]) -> str:
    """Return one SHA-256 of the records' own checksums as they were written, whatever their order and file."""
    return hashlib.sha256("\n".join(sorted(written[_key(record)] for record in records)).encode()).hexdigest()
