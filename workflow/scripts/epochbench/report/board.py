"""The board's page, one file that needs nothing beside it, and the same for programs."""

from collections.abc import Callable, Iterable
from pathlib import Path

from markupsafe import Markup

from epochbench import wording
from epochbench.aggregate.board import Board, Refused, Table, all_results
from epochbench.aggregate.framework_names import name_of
from epochbench.aggregate.result import Result, Side
from epochbench.documents import to_dict
from epochbench.files import write_json, write_text
from epochbench.report.board_chart import draw_chart
from epochbench.report.templating import template
from epochbench.stats import Interval
from epochbench.timing.frameworks import TORCH

BOARD_VERSION = 1
UNKNOWN = "unknown"
# Each table has a chart up to so many; a board of a thousand different works would be nothing but charts.
MOST_CHARTS = 12
MOST_REFUSED = 200


def write_board(board: Board, folder: str | Path) -> None:
    """Write board.html, and board.json with every number of it in full."""
    folder = Path(folder)
    write_json(folder / "board.json", {"board_version": BOARD_VERSION} | to_dict(board))
    write_text(folder / "board.html", render_board(board))


def render_board(board: Board) -> str:
    """Return the page; every text from the outside is escaped."""
    sections = [_section(table, board, number) for number, table in enumerate(board.tables)]
    return template("board.html.j2").render(
        sections=sections,
        counts=_counts(board),
        other_code=sum(not result.known_code for result in all_results(board)),
        refused=board.refused[:MOST_REFUSED],
        unsaid=max(0, len(board.refused) - MOST_REFUSED),
        charts_left_out=len(sections) - MOST_CHARTS,
    )


def _counts(board: Board) -> str:
    """Return how much there is, in a line."""
    parts = [
        _count(len(all_results(board)), "result"),
        _count(len(board.tables), "table"),
        _count(board.exports, "export"),
    ]
    refused = f"; {_count(len(board.refused), 'export')} refused" if board.refused else ""
    return f"{parts[0]} in {parts[1]}, from {parts[2]}{refused}"


def _count(number: int, word: str) -> str:
    return f"{wording.count(number)} {word}{'' if number == 1 else 's'}"


def _section(table: Table, board: Board, number: int) -> dict:
    return {
        "title": title_of(table),
        "about": about(table),
        "rows": result_rows(table, board.currency),
        "origins": origin_rows(table),
        "chart": draw_chart(table) if number < MOST_CHARTS else None,
    }


def title_of(table: Table) -> str:
    """Return what all results of a table timed, in a few words."""
    work = table.work
    network = f"{work.model} ({wording.count(work.parameters)} parameters)"
    network += "" if work.framework == TORCH else f" with {name_of(work.framework)}"
    kind = f"{'synthetic images' if table.synthetic else table.data} {work.fingerprint[:6]}"
    images = f"{kind} ({wording.count(work.train_images)} images)"
    baseline = f", over a CPU with {work.baseline}" if work.baseline else ""
    return f"{network} on {images}, batches of {wording.count(work.batch_size)}{baseline}"


def about(table: Table) -> str:
    """Return the data of a table in full."""
    images = wording.count(table.work.train_images)
    made_up = "The images are synthetic, so this is no result on real data. " if table.synthetic else ""
    return (
        f"{made_up}An epoch is {images} images ({table.data}), fingerprint {table.work.fingerprint[:12]}. "
        "Only these results are compared with each other."
    )


Column = Callable[[Result], str]


def result_rows(table: Table, currency: str) -> list[dict[str, str]]:
    """Return a row of texts for each result, the fastest first; energy and price only where one result has it."""
    columns: dict[str, Column] = {
        "accelerator": lambda one: one.best.hardware if one.has_gpu else "none",
        "processor": lambda one: one.baseline.hardware,
        "times the CPU as typed": lambda one: wording.ratio_with_interval(one.over_baseline),
        "times the CPU at its best": lambda one: _ratio(one.over_best_cpu),
        "epoch": lambda one: _epoch(one.best),
        "epoch, CPU at its best": lambda one: _epoch(one.best_cpu or (one.baseline if one.has_gpu else one.best)),
        "epoch, CPU as typed": lambda one: _epoch(one.baseline),
        "energy, an epoch": lambda one: wording.joules(one.best.joules_per_epoch),
        "energy, CPU as typed": lambda one: wording.joules(one.baseline.joules_per_epoch),
        "price, 1000 epochs": lambda one: _price(one.best, currency),
        "price, CPU as typed": lambda one: _price(one.baseline, currency),
        **_versions(table),
        "Python": lambda one: one.python,
        "measured": lambda one: _sorted_as_text(one.measured[:10]),
        "gates": _gates,
        "address": _address,
        "remarks": _remarks,
    }
    known = {name: [column(one) for one in table.results] for name, column in columns.items()}
    kept = {name: values for name, values in known.items() if set(values) != {UNKNOWN}}
    return [dict(zip(kept, row, strict=True)) for row in zip(*kept.values(), strict=True)]


def _versions(table: Table) -> dict[str, Column]:
    """Return the column of the versions of what trained: torch, or the packages of another framework."""
    if table.work.framework == TORCH:
        return {"torch": lambda one: one.torch}
    return {"versions": lambda one: one.versions}


def _ratio(ratio: Interval | None) -> str:
    return wording.ratio_with_interval(ratio) if ratio else "none"


def _epoch(side: Side) -> str:
    return wording.interval_seconds(side.epoch_seconds)


def _price(side: Side, currency: str) -> str:
    price = side.cost_per_epoch
    return UNKNOWN if price is None else f"{wording.significant(price * 1000, 3)} {currency}"


def _sorted_as_text(date: str) -> Markup:
    """Return a date behind a word that is not shown: read as a number it would be its year alone."""
    return Markup("<span hidden>on </span>{}").format(date)


def _gates(one: Result) -> str:
    """Return how many hard gates passed, and how many soft ones failed or hard ones could not be judged."""
    words = [f"{one.passed} passed"]
    words += [f"{len(one.unjudged)} not judged"] if one.unjudged else []
    words += [_count(len(one.doubts), "warning")] if one.doubts else []
    return ", ".join(words)


def _address(one: Result) -> Markup:
    return Markup('<a id="{0}" href="#{0}">#{0}</a>').format(one.address)


def _remarks(one: Result) -> str:
    code = [] if one.known_code else ["other code"]
    return "; ".join([*code, *one.remarks])


def origin_rows(table: Table) -> list[dict[str, str]]:
    """Return where each result comes from, and all that its gates could not vouch for."""
    return [
        {
            "result": f"#{one.address}",
            "exports": _some(one.files),
            "cells": " / ".join(f"{side.cell} ({side.precision})" for side in _sides(one)),
            "runs": str(one.runs),
            "timed at least": one.asked,
            "CPU cells": str(one.cpu_cells),
            "nodes": one.nodes,
            "code": f"{one.code}{'' if one.known_code else ' (other code)'}",
            "commit": (one.commit or UNKNOWN)[:12],
            "CUDA": one.cuda,
            "digest of the records": one.digest,
            "not judged": ", ".join(one.unjudged) or "none",
            "warnings": _some(one.doubts) or "none",
        }
        for one in table.results
    ]


def _sides(one: Result) -> list[Side]:
    return [one.best, *([one.best_cpu] if one.best_cpu else []), one.baseline]


def _some(words: list[str], most: int = 4) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return f"{', '.join(words[:most])}{more}"


def refusals(refused: Iterable[Refused]) -> list[str]:
    """Return a line for each export that was refused, with the reason."""
    return [f"refused: {one.file}: {one.reason}" for one in refused]


def said_of(board: Board) -> str:
    """Return what the board holds, for the console."""
    return f"{_counts(board)}."
