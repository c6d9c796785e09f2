"""Which framework is fastest on each device, by how much, and whether that is certain."""

from collections.abc import Iterable

from epochbench import wording
from epochbench.aggregate.baseline import is_comparable
from epochbench.aggregate.framework_names import name_of, versions_of
from epochbench.aggregate.framework_words import (
    at_best_sentences,
    missing_sentences,
    standing_sentences,
    within_sentences,
)
from epochbench.aggregate.labels import setting, settings_otherwise
from epochbench.aggregate.ratios import Ratios
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.standings import (
    FrameworkCells,
    FrameworkRatio,
    Frameworks,
    NotTimed,
    Standing,
    WithinFramework,
)
from epochbench.aggregate.summary import CellSummary, Missing
from epochbench.timing.cell import is_imported
from epochbench.timing.frameworks import TORCH
from epochbench.timing.record import Record

# What the user of a processor decides, and no framework: the sides of a pair are alike in these where they can be.
ALIKE_ON_CPUS = ("allocator", "threads", "processes")

Rows = list[CellSummary]


def frameworks(
    cells: Rows, settings: Settings, by_cell: dict[str, list[Record]], reference: Record, failed: Iterable[Missing] = ()
) -> Frameworks | None:
    """Return how the frameworks stand to each other; None where there is one alone, and the sheet names no other.

    Only cells count that were timed here, failed no hard gate, and do the work of `reference`: its data, network,
    batch size and optimiser. `failed` are the runs that wrote no record.
    """
    own = [row for row in cells if not is_imported(row.cell)]
    same = [row for row in own if _same_work(by_cell[row.cell][0], reference)]
    valid, ratios = [row for row in same if row.valid], Ratios(by_cell, settings.confidence)
    groups = [_by_framework(rows) for rows in _by_hardware(valid)]
    standings = [_standing(group, same, ratios, settings) for group in groups if len(group) > 1]
    missing = _missing(own, same, settings, [run.cell for run in failed])
    if not standings and not missing:
        return None
    within, rows = _within(_by_framework(valid), ratios), {row.cell: row for row in cells}
    return Frameworks(
        standings=standings,
        within=within,
        missing=missing,
        sentences=[*standing_sentences(standings, rows), *missing_sentences(missing)],
        details=[*at_best_sentences(standings, rows), *within_sentences(within)],
    )


def _same_work(record: Record, reference: Record) -> bool:
    return is_comparable(record, reference) and record.cell.batch_size == reference.cell.batch_size


def _by_hardware(rows: Rows) -> list[Rows]:
    """Return the rows of each device and hardware: a ratio across machines tells nothing of frameworks."""
    found = {}
    for row in rows:
        found.setdefault((row.device, row.hardware), []).append(row)
    return list(found.values())


def _by_framework(rows: Iterable[CellSummary]) -> dict[str, Rows]:
    found = {}
    for row in rows:
        found.setdefault(row.settings.framework, []).append(row)
    return found


def _standing(group: dict[str, Rows], same: Rows, ratios: Ratios, settings: Settings) -> Standing:
    """Return how the frameworks stand that were timed on one device."""
    ranked = ratios.fastest_first(_all(group))
    precisions = dict.fromkeys(row.settings.precision for row in ranked)
    at_one = {
        precision: _by_framework(row for row in _all(group) if row.settings.precision == precision)
        for precision in sorted(precisions, key=lambda precision: precision != "fp32")
    }
    pairs = [
        pair
        for precision, rows in [*at_one.items(), (None, group)]
        if len(rows) > 1
        for pair in _against_the_fastest(precision, rows, ratios, settings.noise_threshold)
    ]
    first = ranked[0]
    here = [row for row in same if (row.device, row.hardware) == (first.device, first.hardware)]
    return Standing(
        device=first.device,
        hardware=first.hardware,
        frameworks=[
            _reached(group[word], [row for row in here if row.settings.framework == word], ratios, settings.baseline)
            for word in dict.fromkeys(row.settings.framework for row in ranked)
        ],
        ratios=pairs,
    )


def _all(group: dict[str, Rows]) -> Rows:
    return [row for rows in group.values() for row in rows]


def _reached(rows: Rows, here: Rows, ratios: Ratios, baseline: str) -> FrameworkCells:
    """Return a framework's fastest cell and its reference, one of `here`, which has those that failed a gate too."""
    best = ratios.fastest_first(rows)[0]
    first = min(here, key=lambda row: (row.cell != baseline, settings_otherwise(row.settings)))
    reference = first if first.valid else None
    close = (1, ratios.close(best, rows))
    return FrameworkCells(
        framework=best.settings.framework,
        name=name_of(best.settings.framework),
        versions=versions_of([run for row in rows for run in ratios.by_cell[row.cell]]),
        reference=reference and reference.cell,
        reference_seconds=reference and reference.epoch_seconds,
        best=best.cell,
        best_seconds=best.epoch_seconds,
        over_reference=reference and ratios.ratio(reference, best, close),
    )


def _against_the_fastest(
    precision: str | None, group: dict[str, Rows], ratios: Ratios, noise: float
) -> list[FrameworkRatio]:
    """Return the fastest framework's ratio over each other, in one precision or (None) in any.

    Which is the fastest, the first runs tell; where one with further runs is surely slower by all of them, the next.
    """
    ranked = ratios.fastest_first(_all(group))
    fastest = {}
    for row in ranked:
        fastest.setdefault(row.settings.framework, row)
    for word, fast in fastest.items():
        sides = [(fast, group[other]) for other in fastest if other != word]
        pairs = [pair for side in sides for pair in _pairs(precision, *side, ranked, ratios, noise)]
        if all(pair.speedup.high is None or pair.speedup.high >= 1 for pair in pairs):
            break
    return pairs


def _pairs(
    precision: str | None, fast: CellSummary, rows: Rows, ranked: Rows, ratios: Ratios, noise: float
) -> list[FrameworkRatio]:
    """Hold the fastest cell of all against the fastest of one framework's.

    In one precision against the fastest that is alike, where there is one; and against one that is not alike too, where
    that is faster by more than noise: no framework is judged by a setting that does not suit it.
    """
    alike, best = [row for row in rows if precision and not _otherwise(fast, row)], ratios.fastest_first(rows)[0]
    if not alike:
        return [_pair(precision, fast, best, rows, ranked, ratios)]
    slow = ratios.fastest_first(alike)[0]
    pairs = [_pair(precision, fast, slow, alike, ranked, ratios)]
    if ratios.ratio(slow, best, (1, 1)).estimate > 1 + noise:
        pairs.append(_pair(precision, fast, best, rows, ranked, ratios))
    return pairs


def _pair(
    precision: str | None, fast: CellSummary, slow: CellSummary, rows: Rows, ranked: Rows, ratios: Ratios
) -> FrameworkRatio:
    """Return the ratio of the fastest of all over the fastest of some rows."""
    close = ratios.close(slow, rows), ratios.close(fast, ranked)
    # One sentence names all of these ratios, so that their intervals hold together.
    speedup = ratios.ratio(slow, fast, close, together=len(_by_framework(ranked)) - 1)
    return FrameworkRatio(
        precision=precision,
        framework=fast.settings.framework,
        other=slow.settings.framework,
        fast=fast.cell,
        slow=slow.cell,
        speedup=speedup,
        is_certain=speedup.low is not None and speedup.low > 1,
        differs=_otherwise(fast, slow) + ratios.unlike(slow, fast),
    )


def _otherwise(fast: CellSummary, slow: CellSummary) -> list[str]:
    """Return in words in what two cells of a processor differ that no framework decides; nothing on a GPU."""
    sides = [(name, getattr(fast.settings, name), getattr(slow.settings, name)) for name in ALIKE_ON_CPUS]
    return [
        f"{setting(name, one)} against {setting(name, other)}"
        for name, one, other in sides
        if fast.device == "cpu" and one != other
    ]


def _within(by_framework: dict[str, Rows], ratios: Ratios) -> list[WithinFramework]:
    """Return each framework's fastest GPU cell over its fastest CPU cell; nothing where PyTorch alone has both."""
    found = {}
    for word, rows in by_framework.items():
        cpus, gpus = (ratios.fastest_first(row for row in rows if row.device == device) for device in ("cpu", "gpu"))
        if cpus and gpus:
            close = ratios.close(cpus[0], cpus), ratios.close(gpus[0], gpus)
            ratio = ratios.ratio(cpus[0], gpus[0], close)
            found[word] = WithinFramework(word, cpus[0].cell, gpus[0].cell, ratio)
    return list(found.values()) if set(found) - {TORCH} else []


def _missing(own: Rows, same: Rows, settings: Settings, failed: list[str]) -> list[NotTimed]:
    """Return the frameworks that have records or rows of the sheet, and nothing that counts where others have."""
    counting = {(row.device, row.settings.framework) for row in same if row.valid}
    wanted = dict.fromkeys((row.device, row.settings.framework) for row in own)
    for device, by_cell in settings.frameworks.items():
        wanted |= dict.fromkeys((device, framework) for framework in by_cell.values())
    timed = {device for device, _ in counting}
    return [
        NotTimed(framework, device, _why(device, framework, own, same, settings, failed))
        for device, framework in wanted
        if device in timed and (device, framework) not in counting
    ]


def _why(device: str, framework: str, own: Rows, same: Rows, settings: Settings, failed: list[str]) -> str:
    def cells_of(rows: Rows) -> list[str]:
        return [row.cell for row in rows if (row.device, row.settings.framework) == (device, framework)]

    if wrong := cells_of(same):
        return f"a hard gate failed ({wording.some(wrong)})"
    if other := cells_of(own):
        return f"other data, another network or another batch size ({wording.some(other)})"
    of_sheet = [cell for cell, word in settings.frameworks.get(device, {}).items() if word == framework]
    if broken := [cell for cell in of_sheet if cell in failed]:
        return f"its runs failed ({wording.some(broken)})"
    return f"it was not timed ({wording.some(of_sheet)})"
