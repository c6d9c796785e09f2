"""The board: the results of many exports in tables of what can be compared, and what was refused."""

import multiprocessing
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import isclose
from pathlib import Path
from statistics import median, median_high

from epochbench.aggregate.result import Result, Work
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.submission import Submission, judge
from epochbench.errors import BenchmarkError

# First losses on the same images with the same weights differ by rounding alone: 1.5e-4 in bf16.
LOSS_TOLERANCE = 1e-3
# Of many copies of a run, those that are named.
MOST_HOLDERS = 3
# Exports that one process judges before it is given more.
CHUNK = 8


@dataclass(frozen=True)
class Table:
    """Results that can be compared, the fastest first."""

    work: Work  # what all of them timed
    data: str  # what the first measured of them calls the images
    synthetic: bool  # whether any of them says that these are made up
    results: list[Result]


@dataclass(frozen=True)
class Refused:
    """An export that was refused."""

    file: str  # as it was named
    reason: str  # in words


@dataclass(frozen=True)
class Board:
    """What many exports say together."""

    tables: list[Table]  # real images before synthetic ones, then those with most results
    refused: list[Refused]  # in the order of the exports
    exports: int  # how many there were
    currency: str  # the word behind every price


def find_exports(places: Iterable[str]) -> list[str]:
    """Return the exports that files, folders and patterns name, each once, in the order of the places.

    A folder may be empty. Raises BenchmarkError for any other place where there is none.
    """
    found: list[Path] = []
    for place in places:
        try:
            files = _files(Path(place).expanduser())
        except (OSError, ValueError, RuntimeError) as error:
            raise BenchmarkError(f"board.exports: '{place}' is no place of exports ({error})") from error
        if not files and not Path(place).expanduser().is_dir():
            raise BenchmarkError(f"board.exports: there is no export at '{place}'; make one with `make export`")
        found += files
    return list(dict.fromkeys(map(str, found)))


def _files(place: Path) -> list[Path]:
    """Return the file, the exports in the folder, or what the pattern matches."""
    if place.is_file():
        return [place]
    if place.is_dir():
        return sorted(file for file in place.rglob("*.[zZ][iI][pP]") if not file.is_dir())
    return sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))


def known_code(sheet: str | Path, current: Iterable[str]) -> frozenset[str]:
    """Return the digests of the timing code that this repository has and had: the current ones, and the sheet's."""
    try:
        lines = Path(sheet).read_text().splitlines()
    except OSError as error:
        raise BenchmarkError(f"{sheet}: not readable ({error}); it lists the code that this repository had") from error
    return frozenset(current) | {line.split("\t")[0] for line in lines[1:]}


def read_board(paths: list[str], settings: Settings, known: frozenset[str], processes: int = 1) -> Board:
    """Judge exports and put what was not refused into tables, on as many processes; on macOS on one."""
    work = partial(judge, settings=settings, known_code=known)
    if processes == 1 or len(paths) == 1 or sys.platform == "darwin":
        return make_board(list(map(work, paths)), settings)
    # A fork, since anything else would import Snakemake's script anew; macOS' own libraries do not outlive one.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        return make_board(list(pool.map(work, paths, chunksize=CHUNK)), settings)


def make_board(submissions: list[Submission], settings: Settings) -> Board:
    """Return the board of what was submitted: copies merged, repetitions and shared runs said."""
    grouped: dict[Work, list[Result]] = {}
    for result in _with_repetitions(submissions):
        grouped.setdefault(result.work, []).append(result)
    tables = sorted(map(_table, grouped.values()), key=lambda table: (table.synthetic, -len(table.results), table.data))
    refused = [Refused(one.file, one.refused) for one in submissions if one.refused]
    return Board(tables, refused, len(submissions), settings.currency)


def _with_repetitions(submissions: list[Submission]) -> list[Result]:
    """Return each result once, the first measured ones first, with a word on what it repeats or shares runs with."""
    different: dict[str, Result] = {}
    for one in submissions:
        for result in one.results:
            same = different.setdefault(result.digest, result)
            if same is not result:
                different[result.digest] = replace(same, files=[*same.files, *result.files])
    ordered = sorted(different.values(), key=lambda one: (one.measured, one.digest))
    shared = _shared_runs(submissions, ordered)
    setups: dict[tuple, str] = {}
    results = []
    for one in ordered:
        first = setups.setdefault((one.work, one.setup, one.code), one.address)
        again = [] if first == one.address else [f"same machines, software and code as #{first}"]
        results.append(replace(one, remarks=[*one.remarks, *again, *shared[one.digest]]))
    return results


def _shared_runs(submissions: list[Submission], ordered: list[Result]) -> dict[str, list[str]]:
    """Return remarks on the runs that another export's result has too, under whatever names, by digest.

    Both are told: who was first, only their own dates say.
    """
    runs = {digest: words for one in submissions for digest, words in one.runs.items()}
    holders: dict[str, list[Result]] = {}
    for one in ordered:
        for word in chain.from_iterable(runs[one.digest]):
            held = holders.setdefault(word, [])
            if len(held) < MOST_HOLDERS:
                held.append(one)
    return {one.digest: _shared(one, runs[one.digest], holders) for one in ordered}


def _shared(one: Result, runs: list[tuple[str, ...]], holders: dict[str, list[Result]]) -> list[str]:
    shared: Counter[str] = Counter()
    for words in runs:
        others = {other.address: other for word in words for other in holders[word]}
        # Results of one export have their CPU's runs in common.
        shared.update(address for address, other in others.items() if not set(other.files) & set(one.files))
    return [f"{count} of its runs are those of #{address}" for address, count in shared.items()]


def _table(results: list[Result]) -> Table:
    """Return the results of the same work, fastest first, with a word on each that cannot be what it says."""
    first = results[0]
    ranked = sorted(results, key=lambda one: one.best.epoch_seconds.estimate)
    synthetic = any(one.synthetic for one in results)
    usual = _Usual(results)
    told = [replace(one, remarks=[*one.remarks, *_odd(one, synthetic, usual)]) for one in ranked]
    return Table(first.work, first.data, synthetic, told)


class _Usual:
    """What most results of a table have in common: the first loss of each seed, an epoch's FLOP, the CPU's cells."""

    def __init__(self, results: list[Result]):
        losses: dict[int, list[float]] = {}
        for one in results:
            losses.setdefault(one.seed, []).append(one.first_losses[0])
        self.losses = {seed: median(values) for seed, values in losses.items()}
        self.only_seeds = {seed for seed, values in losses.items() if len(values) == 1 and len(results) > 1}
        self.cpu_cells = median_high(one.cpu_cells for one in results)
        self.flop = median([one.flop_per_epoch for one in results if one.flop_per_epoch is not None] or [0.0])


def _odd(one: Result, synthetic: bool, usual: _Usual) -> Iterable[str]:
    """Yield in what a result contradicts the others on the same data, or cannot be held against them."""
    if synthetic and not one.synthetic:
        yield "others say that these images are synthetic"
    loss = usual.losses[one.seed]
    odd = next((each for each in one.first_losses if not isclose(each, loss, rel_tol=LOSS_TOLERANCE)), None)
    if odd is not None:
        yield f"its first loss is {odd:.5g}, not the usual {loss:.5g}: other images or weights than it says"
    elif one.seed in usual.only_seeds:
        yield f"nobody else has seed {one.seed}, so its first loss shows nothing"
    if one.flop_per_epoch is not None and not isclose(one.flop_per_epoch, usual.flop, rel_tol=1e-6):
        yield f"an epoch has {one.flop_per_epoch:.4g} FLOP, which is not usual: another network than it says"
    if one.cpu_cells < usual.cpu_cells:
        yield f"its CPU's cells are {one.cpu_cells}, usually {usual.cpu_cells}: at its best it may be faster"


def all_results(board: Board) -> list[Result]:
    """Return the results of all tables."""
    return list(chain.from_iterable(table.results for table in board.tables))
