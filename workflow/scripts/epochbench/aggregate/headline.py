"""The comparison to lead with."""

from epochbench import wording
from epochbench.aggregate.baseline import epoch_times, speedup_over
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, Fair, Headline
from epochbench.stats import Interval, replay
from epochbench.timing.record import Record


def headline(cells: list[CellSummary], settings: Settings, by_cell: dict[str, list[Record]]) -> Headline | None:
    """Return the comparison to lead with: the fastest GPU cell, or the fastest CPU cell, against the baseline.

    Only cells with the baseline's data, network and batch size, and without a failed hard gate, can lead. `fair` is the
    same against the fastest CPU cell, where that is neither of the two.
    """
    base = next((row for row in cells if row.cell == settings.baseline and row.valid), None)
    rivals = [row for row in cells if base and row is not base and row.valid and does_the_same_work(row, base)]
    if not rivals:
        return None
    ranked = sorted(rivals, key=lambda row: row.epoch_seconds.estimate)
    gpu = [row for row in ranked if row.device == "gpu"]
    cpu = [row for row in ranked if row.device == "cpu"]
    best = (gpu or ranked)[0]
    return Headline(
        baseline=base.cell,
        best=best.cell,
        fair=_fair(cpu[0], best, by_cell, settings.confidence) if gpu and cpu else None,
        sentence=_sentence(base, best, best.speedup),
        replay=replay(*(epoch_times(by_cell[row.cell]) for row in (base, best))),
    )


def does_the_same_work(row: CellSummary, base: CellSummary) -> bool:
    """Tell whether a cell does the baseline's work: the same data, network and batch size."""
    one, other = row.settings, base.settings
    return row.speedup is not None and (one.model, one.batch_size) == (other.model, other.batch_size)


def _fair(cpu: CellSummary, best: CellSummary, by_cell: dict[str, list[Record]], confidence: float) -> Fair:
    ratio = speedup_over(by_cell[cpu.cell], by_cell[best.cell], confidence)
    return Fair(cpu.cell, ratio, _sentence(cpu, best, ratio))


def _sentence(slow: CellSummary, fast: CellSummary, ratio: Interval) -> str:
    times = [f"{row.cell} {wording.interval_seconds(row.epoch_seconds)}" for row in (slow, fast)]
    return f"{', '.join(times)} an epoch: {wording.ratio_with_interval(ratio)}, {wording.less_time_percent(ratio)}."
