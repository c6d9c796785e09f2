"""The comparison to lead with."""

from epochbench import wording
from epochbench.aggregate.baseline import does_the_same_work, epoch_times, node_of, speedup_over
from epochbench.aggregate.labels import with_framework
from epochbench.aggregate.plain import plain_sentence
from epochbench.aggregate.plan import Plan
from epochbench.aggregate.ratios import Ratios
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, EqualPrecision, Fair, Headline
from epochbench.stats import Interval, replay
from epochbench.timing.cell import is_imported
from epochbench.timing.record import Record


def headline(
    cells: list[CellSummary], settings: Settings, by_cell: dict[str, list[Record]], plan: Plan | None = None
) -> Headline | None:
    """Return the comparison to lead with: the fastest GPU cell, or the fastest CPU cell, against the baseline.

    Only cells that were timed here, with the baseline's data, network and batch size, and without a failed hard gate,
    can lead; `settings.best` names another one, imported or not. Which is the fastest, the first runs tell: further
    ones are made of the leading cell alone, and would let luck decide. A cell that a plan has chosen stays, as long as
    it can lead. `fair` is the same against the fastest CPU cell, where that is neither of the two. The fastest of any
    framework counts, since the question is what a device does at its best; a framework that is not PyTorch is named.
    """
    compare = _Comparison(by_cell, settings.confidence)
    sides = _sides(cells, settings, compare, plan)
    if sides is None:
        return None
    base, best = sides
    # Each side beside those that were timed where it was.
    slow, fast = (compare.fastest_first([base, *_rivals(cells, base, node_of(side.cell))]) for side in sides)
    # A cell that the config names was picked by nobody's times.
    close = 1 if settings.best else compare.close(best, _candidates(cells, base, settings))
    ratio, fair = compare.ratio(base, best, (1, close)), _fair(base, best, slow, close, compare)
    cpu = next(((row, fair.speedup) for row in cells if fair and row.cell == fair.cell), None)
    plain = plain_sentence(base, best, ratio, fair=cpu, is_best=not settings.best)
    return Headline(
        baseline=base.cell,
        best=best.cell,
        speedup=ratio,
        plain=f"{plain}{compare.but_with(base, best)}.",
        sentence=compare.sentence(base, best, ratio),
        close=close,
        fair=fair,
        equal_precision=_equal_precision(base, best, slow, fast, compare),
        replay=replay(*(epoch_times(by_cell[row.cell]) for row in sides)),
    )


def _sides(
    cells: list[CellSummary], settings: Settings, compare: "_Comparison", plan: Plan | None
) -> tuple[CellSummary, CellSummary] | None:
    """Return the baseline and the cell that leads, None where there are not both."""
    base = next((row for row in cells if row.cell == settings.baseline and row.valid), None)
    if base is None or (is_imported(base.cell) and not settings.best):
        return None
    ranked = compare.fastest_first(_candidates(cells, base, settings))
    planned = [row for row in ranked if plan and (plan.baseline, plan.best) == (base.cell, row.cell)]
    return (base, [*planned, *ranked][0]) if ranked else None


def _candidates(cells: list[CellSummary], base: CellSummary, settings: Settings) -> list[CellSummary]:
    """Return the cells of which the fastest leads: the GPU cells where there are any, or the one that is named."""
    rivals = _rivals(cells, base, node_of(settings.best))
    if settings.best:
        rivals = [row for row in rivals if row.cell == settings.best]
    return [row for row in rivals if row.device == "gpu"] or rivals


def overtaken(
    cells: list[CellSummary], leading: Headline | None, settings: Settings, by_cell: dict[str, list[Record]]
) -> list[str]:
    """Return a note where another cell is faster than the one that leads by its first runs, once all runs count."""
    if leading is None:
        return []
    rows = {row.cell: row for row in cells}
    fastest = min(_candidates(cells, rows[leading.baseline], settings), key=lambda row: row.epoch_seconds.estimate)
    if fastest.cell == leading.best:
        return []
    ratio = speedup_over(by_cell[leading.best], by_cell[fastest.cell], settings.confidence)
    sure = "is" if ratio.low and ratio.low > 1 else "may be"
    return [
        f"{leading.best} leads, the fastest by the first runs, since further runs were made of it alone; by all runs "
        f"{fastest.cell} {sure} faster, {wording.ratio_with_interval(ratio)}."
    ]


def _rivals(cells: list[CellSummary], base: CellSummary, node: str) -> list[CellSummary]:
    """Return the other cells that do the baseline's work, failed no hard gate, and were timed on a node, or here."""
    able = [row for row in cells if row.valid and node_of(row.cell) == node]
    return [row for row in able if row is not base and does_the_same_work(row, base)]


def _fair(
    base: CellSummary, best: CellSummary, ranked: list[CellSummary], close: int, compare: "_Comparison"
) -> Fair | None:
    cpus = [row for row in ranked if row.device == "cpu"]
    if not cpus or cpus[0] in (base, best) or best.device == "cpu":
        return None
    cpu = cpus[0]
    ratio = compare.ratio(cpu, best, (compare.close(cpu, cpus), close))
    return Fair(cpu.cell, ratio, compare.sentence(cpu, best, ratio))


def _equal_precision(
    base: CellSummary, best: CellSummary, slow: list[CellSummary], fast: list[CellSummary], compare: "_Comparison"
) -> list[EqualPrecision]:
    """Return, for each precision, the fastest cell of the leading device against the fastest of the baseline's.

    On one device: the fastest cell in the baseline's precision against the baseline.
    """
    there = _by_precision([row for row in fast if row.device == best.device and row is not base])
    here = _by_precision([base] if base.device == best.device else [row for row in slow if row.device == base.device])
    shared = [precision for precision in here if precision in there]
    return [_at_precision(precision, here[precision], there[precision], compare) for precision in shared]


def _at_precision(
    precision: str, slow: list[CellSummary], fast: list[CellSummary], compare: "_Comparison"
) -> EqualPrecision:
    """Compare the fastest of the cells that compute in one precision, on either side."""
    ratio = compare.ratio(slow[0], fast[0], tuple(compare.close(side[0], side) for side in (slow, fast)))
    return EqualPrecision(
        precision=precision,
        slow=slow[0].cell,
        fast=fast[0].cell,
        speedup=ratio,
        sentence=compare.short_sentence(slow[0], fast[0], ratio),
    )


def _by_precision(ranked: list[CellSummary]) -> dict[str, list[CellSummary]]:
    """Return the cells of each precision, fastest first."""
    found = {}
    for row in ranked:
        found.setdefault(row.settings.precision, []).append(row)
    return found


class _Comparison(Ratios):
    """Two cells as a ratio, and in words that an engineer would say."""

    def sentence(self, slow: CellSummary, fast: CellSummary, ratio: Interval) -> str:
        """Name hardware, precision and cell of both sides; the hardware once where it is the same.

        Their frameworks too, where one is another than PyTorch.
        """
        times = wording.ratio_with_interval(ratio)
        less = f"{wording.less_time_percent(ratio)}{self.but_with(slow, fast)}"
        one, other = (f"in {row.settings.precision}{_with(row, slow, fast)}" for row in (fast, slow))
        if slow.hardware == fast.hardware:
            compared = f"On {fast.hardware}, {fast.cell} {one} trains {times} as fast as {slow.cell} {other}"
            return f"{compared}: {_epoch(fast)} an epoch against {_epoch(slow)}, {less}."
        train = "train" if fast.device == "gpu" and fast.settings.processes > 1 else "trains"
        compared = f"{fast.hardware} {one} {train} {times} as fast as {slow.hardware}, {other}"
        return f"{compared}: {_epoch(fast)} an epoch ({fast.cell}) against {_epoch(slow)} ({slow.cell}), {less}."

    def short_sentence(self, slow: CellSummary, fast: CellSummary, ratio: Interval) -> str:
        times = wording.ratio_with_interval(ratio)
        one, other = (f"{row.cell}{_with(row, slow, fast)}" for row in (fast, slow))
        return (
            f"In {fast.settings.precision} on both sides, {one} trains {times} as fast as {other}: "
            f"{_epoch(fast)} an epoch against {_epoch(slow)}{self.but_with(slow, fast)}."
        )

    def but_with(self, slow: CellSummary, fast: CellSummary) -> str:
        """Say in what code and software the two sides differ; nothing where they are alike."""
        words = self.unlike(slow, fast)
        return f", but with {wording.listed(words)}" if words else ""


def _with(row: CellSummary, *sides: CellSummary) -> str:
    return with_framework(row.settings, *(side.settings for side in sides))


def _epoch(row: CellSummary) -> str:
    return wording.interval_seconds(row.epoch_seconds)


def reservations(cells: list[CellSummary], settings: Settings) -> list[str]:
    """Return a note for each of the two cells that the config names and that cannot be compared, with the reason."""
    rows = {row.cell: row for row in cells}
    base, best = rows.get(settings.baseline), rows.get(settings.best)
    return [*_without_baseline(base, settings), *(_without_best(base, best, settings) if settings.best else [])]


def _without_baseline(base: CellSummary | None, settings: Settings) -> list[str]:
    if base is None:
        return [f"The baseline '{settings.baseline}' has no record, so there is no speedup."]
    if not base.valid:
        return [f"The baseline '{base.cell}' failed a hard gate, so there is no speedup over it."]
    if is_imported(base.cell) and not settings.best:
        ways = "name the cell to compare it with as statistics.best, or time the baseline here"
        return [f"The baseline {base.cell} was not timed here, so no cell leads; {ways}."]
    return []


def _without_best(base: CellSummary | None, best: CellSummary | None, settings: Settings) -> list[str]:
    if best is None:
        return [f"statistics.best: '{settings.best}' has no record, so no cell leads."]
    if not best.valid:
        return [f"statistics.best: '{best.cell}' failed a hard gate, so no cell leads."]
    if base and base.valid and not does_the_same_work(best, base):
        what = "other data, another network or another batch size"
        return [f"statistics.best: '{best.cell}' has {what} than '{base.cell}', so no cell leads."]
    return []
