"""The comparison to lead with."""

from epochbench import wording
from epochbench.aggregate.baseline import does_the_same_work, epoch_times, node_of, speedup_over
from epochbench.aggregate.machines import stack_facts
from epochbench.aggregate.plain import plain_sentence
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, EqualPrecision, Fair, Headline
from epochbench.stats import Interval, replay
from epochbench.timing.cell import is_imported
from epochbench.timing.record import Record


def headline(cells: list[CellSummary], settings: Settings, by_cell: dict[str, list[Record]]) -> Headline | None:
    """Return the comparison to lead with: the fastest GPU cell, or the fastest CPU cell, against the baseline.

    Only cells that were timed here, with the baseline's data, network and batch size, and without a failed hard gate,
    can lead; `settings.best` names another one, imported or not. `fair` is the same against the fastest CPU cell, where
    that is neither of the two.
    """
    sides = _sides(cells, settings)
    if sides is None:
        return None
    base, best = sides
    # Each side beside those that were timed where it was.
    slow, fast = (_fastest_first([base, *_rivals(cells, base, node_of(side.cell))]) for side in sides)
    compare = _Comparison(by_cell, settings.confidence)
    ratio, fair = compare.ratio(base, best), _fair(base, best, slow, compare)
    cpu = next(((row, fair.speedup) for row in cells if fair and row.cell == fair.cell), None)
    plain = plain_sentence(base, best, ratio, fair=cpu, is_best=not settings.best)
    return Headline(
        baseline=base.cell,
        best=best.cell,
        speedup=ratio,
        plain=f"{plain}{compare.unlike(base, best)}.",
        sentence=compare.sentence(base, best),
        fair=fair,
        equal_precision=_equal_precision(base, best, slow, fast, compare),
        replay=replay(*(epoch_times(by_cell[row.cell]) for row in sides)),
    )


def _sides(cells: list[CellSummary], settings: Settings) -> tuple[CellSummary, CellSummary] | None:
    """Return the baseline and the cell that leads, None where there are not both."""
    base = next((row for row in cells if row.cell == settings.baseline and row.valid), None)
    if base is None or (is_imported(base.cell) and not settings.best):
        return None
    rivals = _rivals(cells, base, node_of(settings.best))
    if settings.best:
        rivals = [row for row in rivals if row.cell == settings.best]
    gpus = [row for row in rivals if row.device == "gpu"]
    ranked = _fastest_first(gpus or rivals)
    return (base, ranked[0]) if ranked else None


def _rivals(cells: list[CellSummary], base: CellSummary, node: str) -> list[CellSummary]:
    """Return the other cells that do the baseline's work, failed no hard gate, and were timed on a node, or here."""
    able = [row for row in cells if row.valid and node_of(row.cell) == node]
    return [row for row in able if row is not base and does_the_same_work(row, base)]


def _fastest_first(rows: list[CellSummary]) -> list[CellSummary]:
    return sorted(rows, key=lambda row: row.epoch_seconds.estimate)


def _fair(base: CellSummary, best: CellSummary, ranked: list[CellSummary], compare: "_Comparison") -> Fair | None:
    cpu = next((row for row in ranked if row.device == "cpu"), None)
    if cpu is None or cpu in (base, best) or best.device == "cpu":
        return None
    return Fair(cpu.cell, compare.ratio(cpu, best), compare.sentence(cpu, best))


def _equal_precision(
    base: CellSummary, best: CellSummary, slow: list[CellSummary], fast: list[CellSummary], compare: "_Comparison"
) -> list[EqualPrecision]:
    """Return, for each precision, the fastest cell of the leading device against the fastest of the baseline's.

    On one device: the fastest cell in the baseline's precision against the baseline.
    """
    there = _by_precision([row for row in fast if row.device == best.device and row is not base])
    here = _by_precision([base] if base.device == best.device else [row for row in slow if row.device == base.device])
    return [
        EqualPrecision(
            precision=precision,
            slow=one.cell,
            fast=there[precision].cell,
            speedup=compare.ratio(one, there[precision]),
            sentence=compare.short_sentence(one, there[precision]),
        )
        for precision, one in here.items()
        if precision in there
    ]


def _by_precision(ranked: list[CellSummary]) -> dict[str, CellSummary]:
    """Return the fastest cell of each precision."""
    fastest = {}
    for row in ranked:
        fastest.setdefault(row.settings.precision, row)
    return fastest


class _Comparison:
    """Two cells as a ratio, and in words that an engineer would say."""

    def __init__(self, by_cell: dict[str, list[Record]], confidence: float):
        self.by_cell, self.confidence = by_cell, confidence

    def ratio(self, slow: CellSummary, fast: CellSummary) -> Interval:
        return speedup_over(self.by_cell[slow.cell], self.by_cell[fast.cell], self.confidence)

    def sentence(self, slow: CellSummary, fast: CellSummary) -> str:
        """Name hardware, precision and cell of both sides; the hardware once where it is the same."""
        ratio = self.ratio(slow, fast)
        times = wording.ratio_with_interval(ratio)
        less = f"{wording.less_time_percent(ratio)}{self.unlike(slow, fast)}"
        one, other = (f"in {row.settings.precision}" for row in (fast, slow))
        if slow.hardware == fast.hardware:
            compared = f"On {fast.hardware}, {fast.cell} {one} trains {times} as fast as {slow.cell} {other}"
            return f"{compared}: {_epoch(fast)} an epoch against {_epoch(slow)}, {less}."
        train = "train" if fast.device == "gpu" and fast.settings.processes > 1 else "trains"
        compared = f"{fast.hardware} {one} {train} {times} as fast as {slow.hardware}, {other}"
        return f"{compared}: {_epoch(fast)} an epoch ({fast.cell}) against {_epoch(slow)} ({slow.cell}), {less}."

    def short_sentence(self, slow: CellSummary, fast: CellSummary) -> str:
        ratio = wording.ratio_with_interval(self.ratio(slow, fast))
        return (
            f"In {fast.settings.precision} on both sides, {fast.cell} trains {ratio} as fast as {slow.cell}: "
            f"{_epoch(fast)} an epoch against {_epoch(slow)}{self.unlike(slow, fast)}."
        )

    def unlike(self, slow: CellSummary, fast: CellSummary) -> str:
        """Say in what code and software the two sides differ; nothing where they are alike."""
        sides = self.by_cell[fast.cell], self.by_cell[slow.cell]
        codes = [{run.code.digest for run in side} for side in sides]
        words = ["other timing code"] if codes[0] != codes[1] else []
        one, other = (stack_facts(side, [*sides[0], *sides[1]]) for side in sides)
        # A GPU has facts that no CPU has, such as its driver.
        differing = [name for name in one if name in other and one[name] != other[name]]
        told = {name: f"{name} {one[name]} against {other[name]}" for name in differing}
        words += ["other protocol" if name == "protocol" else text for name, text in told.items()]
        return f", but with {wording.listed(words)}" if words else ""


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
