"""The board: the results of many exports in tables of what can be compared, and what was refused."""

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import isclose
from pathlib import Path
from statistics import median

from epochbench.aggregate.settings import Settings
from epochbench.aggregate.submission import Result, Submission, Work, judge
from epochbench.errors import BenchmarkError

# First losses on the same images with the same weights differ by rounding alone: 1.5e-4 in bf16.
LOSS_TOLERANCE = 1e-3
# Exports that one process judges before it is given more.
CHUNK = 8


@dataclass(frozen=True)
class Table:
    """Results that can be compared, the fastest first."""

    work: Work  # what all of them timed
    data: str  # what the first measured of them calls the images
    synthetic: bool  # whether any of them says that these are made up
    train_images: int  # images in an epoch
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
        return sorted(place.rglob("*.zip"))
    return sorted(Path(place.anchor).glob(str(place.relative_to(place.anchor))))


def known_code(sheet: str | Path, current: Iterable[str]) -> frozenset[str]:
    """Return the digests of the timing code that this repository has and had: the current ones, and the sheet's."""
    try:
        lines = Path(sheet).read_text().splitlines()
    except OSError as error:
        raise BenchmarkError(f"{sheet}: not readable ({error}); it lists the code that this repository had") from error
    return frozenset(current) | {line.split("\t")[0] for line in lines[1:]}


def read_board(paths: list[str], settings: Settings, known: frozenset[str], processes: int = 1) -> Board:
    """Judge exports and put what was not refused into tables, on as many processes."""
    work = partial(judge, settings=settings, known_code=known)
    if processes == 1 or len(paths) == 1:
        return make_board(list(map(work, paths)), settings)
    # A fork, since anything else would import Snakemake's script anew.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("fork")) as pool:
        return make_board(list(pool.map(work, paths, chunksize=CHUNK)), settings)


def make_board(submissions: list[Submission], settings: Settings) -> Board:
    """Return the board of what was submitted: copies merged, repetitions and shared runs said."""
    different = _merged([one for one in submissions if not one.refused])
    grouped: dict[Work, list[Result]] = {}
    for result in _with_repetitions(different):
        grouped.setdefault(result.work, []).append(result)
    tables = sorted(map(_table, grouped.values()), key=lambda table: (table.synthetic, -len(table.results), table.data))
    refused = [Refused(one.file, one.refused) for one in submissions if one.refused]
    return Board(tables, refused, len(submissions), settings.currency)


def _merged(submissions: list[Submission]) -> list[Submission]:
    """Return each set of records once, with the names of all exports that hold it."""
    by_digest: dict[str, list[Submission]] = {}
    for one in submissions:
        by_digest.setdefault(one.digest, []).append(one)
    return [
        replace(same[0], results=[replace(result, files=files) for result in same[0].results])
        for same in by_digest.values()
        for files in [[one.file for one in same]]
    ]


def _with_repetitions(submissions: list[Submission]) -> list[Result]:
    """Return all results, the first measured ones first, each with a word on what it repeats or shares runs with."""
    ordered = sorted(submissions, key=lambda one: (one.results[0].measured, one.digest))
    holders: dict[str, str] = {}
    setups: dict[tuple, str] = {}
    results = []
    for one in ordered:
        shared: dict[str, int] = {}
        for run in one.runs:
            holder = holders.setdefault(run, one.digest[:12])
            if holder != one.digest[:12]:
                shared[holder] = shared.get(holder, 0) + 1
        remarks = [f"{count} of the export's runs are those of #{holder}" for holder, count in sorted(shared.items())]
        for result in one.results:
            first = setups.setdefault((result.work, result.setup, result.code), result.address)
            again = [] if first == result.address else [f"same machines, software and code as #{first}"]
            results.append(replace(result, remarks=[*result.remarks, *again, *remarks]))
    return results


def _table(results: list[Result]) -> Table:
    """Return the results of the same work, fastest first, with a word on each that cannot be what it says."""
    first = results[0]
    ranked = sorted(results, key=lambda one: one.best.epoch_seconds.estimate)
    synthetic = any(one.synthetic for one in results)
    usual = _usual_losses(results)
    told = [replace(one, remarks=[*one.remarks, *_odd(one, synthetic, usual.get(one.seed))]) for one in ranked]
    return Table(first.work, first.data, synthetic, first.train_images, told)


def _usual_losses(results: list[Result]) -> dict[int, float]:
    """Return the median first loss of each seed."""
    losses: dict[int, list[float]] = {}
    for one in results:
        if one.first_loss is not None:
            losses.setdefault(one.seed, []).append(one.first_loss)
    return {seed: median(values) for seed, values in losses.items()}


def _odd(one: Result, synthetic: bool, usual: float | None) -> Iterable[str]:
    """Yield in what a result contradicts the others on the same data."""
    if synthetic and not one.synthetic:
        yield "others say that these images are synthetic"
    if one.first_loss is not None and not isclose(one.first_loss, usual, rel_tol=LOSS_TOLERANCE):
        yield f"its first loss is {one.first_loss:.5g}, not the usual {usual:.5g}: other images or weights than it says"


def all_results(board: Board) -> list[Result]:
    """Return the results of all tables."""
    return list(chain.from_iterable(table.results for table in board.tables))
