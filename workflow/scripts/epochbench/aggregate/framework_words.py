"""How frameworks stand to each other, in sentences."""

from collections.abc import Iterable

from epochbench import wording
from epochbench.aggregate.framework_names import name_of
from epochbench.aggregate.plain import short_name
from epochbench.aggregate.standings import FrameworkRatio, NotTimed, Standing, WithinFramework
from epochbench.aggregate.summary import CellSummary

HERE = {"cpu": "this processor", "gpu": "this GPU"}


def standing_sentences(standings: list[Standing], rows: dict[str, CellSummary]) -> list[str]:
    """Return which framework is fastest on each device, by how much, and whether that is certain.

    At equal precision, in fp32 where two have it; where no two computed in one, each at its best.
    """
    return [
        _who_is_fastest(pairs, f"On {place} ", f" in {pairs[0].precision}")
        if pairs[0].precision
        else _who_is_fastest(pairs, f"Each at its best on {place}, ", "", rows)
        for pairs, place in zip(map(_first, standings), _places(standings, rows), strict=True)
    ]


def at_best_sentences(standings: list[Standing], rows: dict[str, CellSummary]) -> list[str]:
    """Return the same of each framework at its best, where those are other cells than the first sentence is about."""
    told = []
    for standing, place in zip(standings, _places(standings, rows), strict=True):
        best = [pair for pair in standing.ratios if pair.precision is None]
        if {(pair.fast, pair.slow) for pair in _first(standing)} != {(pair.fast, pair.slow) for pair in best}:
            told.append(_who_is_fastest(best, f"Each at its best on {place}, ", "", rows))
    return told


def _first(standing: Standing) -> list[FrameworkRatio]:
    """Return the ratios of the first precision: one over each framework, its fastest cell that was held against."""
    first = [pair for pair in standing.ratios if pair.precision == standing.ratios[0].precision]
    return list({pair.other: pair for pair in first}.values())


def _places(standings: list[Standing], rows: dict[str, CellSummary]) -> list[str]:
    """Return each device as the sentences name it."""
    devices = [standing.device for standing in standings]
    return [
        short_name(rows[standing.frameworks[0].best])
        if devices.count(standing.device) > 1 or " x " in standing.hardware
        else HERE[standing.device]
        for standing in standings
    ]


def _who_is_fastest(
    pairs: list[FrameworkRatio], opening: str, precision: str, rows: dict[str, CellSummary] | None = None
) -> str:
    """Return the sentence on one framework against all others; with `rows` it names each side's precision."""

    def named(framework: str, cell: str) -> str:
        return name_of(framework) + (f" in {rows[cell].settings.precision}" if rows else "")

    def times(pair: FrameworkRatio) -> str:
        differs = f" (but with {', '.join(pair.differs)})" if pair.differs else ""
        ratio = wording.ratio_with_interval(pair.speedup, beyond_one=True)
        return f"{ratio} as fast as {named(pair.other, pair.slow)}{differs}"

    if all(pair.speedup.low is None for pair in pairs):
        told = wording.listed([times(pair) for pair in pairs])
        return (
            f"{opening}{named(pairs[0].framework, pairs[0].fast)} was fastest{precision}: {told}; that is not certain."
        )
    sure, unsure = ([pair for pair in pairs if pair.is_certain == certain] for certain in (True, False))
    fastest = named(pairs[0].framework, pairs[0].fast)
    if not unsure:
        how = wording.listed([times(pair) for pair in sure])
        return f"{opening}{fastest} trains this network fastest{precision}: {how}; that is certain."
    alike = wording.listed([fastest, *(named(pair.other, pair.slow) for pair in unsure)])
    by = wording.listed([times(pair) for pair in unsure])
    name = name_of(pairs[0].framework)
    more = f" {name} certainly trains {wording.listed([times(pair) for pair in sure])}." if sure else ""
    return f"{opening}{alike} cannot be told apart{precision}: {name} trains {by}, which is not certain.{more}"


def within_sentences(within: list[WithinFramework]) -> list[str]:
    """Return the sentence on GPU against CPU within each framework; nothing where none has both."""
    told = [f"{wording.ratio_with_interval(one.speedup)} in {name_of(one.framework)}" for one in within]
    how = "GPU against CPU within one framework, each at its best"
    return [f"{how}: {wording.listed(told)}."] if told else []


def missing_sentences(missing: Iterable[NotTimed]) -> list[str]:
    """Return a sentence for each framework that is not in the comparison, and why."""
    return [f"{name_of(one.framework)} is not compared on {HERE[one.device]}: {one.reason}." for one in missing]
