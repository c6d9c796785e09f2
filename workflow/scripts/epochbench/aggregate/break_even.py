"""When a GPU pays."""

from epochbench.aggregate.summary import Batch, BreakEven, CellSummary, Headline


def break_even(cells: list[CellSummary], headline: Headline | None) -> BreakEven | None:
    """Return when the headline's GPU cell pays, against the best CPU cell where there is one, or else the baseline.

    None without a GPU to lead, or without a CPU to compare it with.
    """
    if headline is None:
        return None
    rows = {row.cell: row for row in cells}
    gpu, cpu = rows[headline.best], rows[headline.fair.cell if headline.fair else headline.baseline]
    if (gpu.device, cpu.device) != ("gpu", "cpu"):
        return None
    extra = sum(late - early for late, early in zip(_before_the_clock(gpu), _before_the_clock(cpu), strict=True))
    gain = cpu.epoch_seconds.estimate - gpu.epoch_seconds.estimate
    batches = _batches(cells, gpu)
    slower = [batch.batch_size for batch in batches if batch.times_faster <= 1]
    faster = [batch.batch_size for batch in batches if batch.batch_size > max(slower, default=0)]
    return BreakEven(
        cpu=cpu.cell,
        gpu=gpu.cell,
        extra_seconds=extra,
        epochs=max(0.0, extra / gain) if gain > 0 else None,
        batches=batches,
        batch_size=min(faster, default=None) if batches else None,
    )


def _before_the_clock(row: CellSummary) -> tuple[float, float, float]:
    return row.start_seconds, row.load_seconds, row.first_step_seconds


def _batches(cells: list[CellSummary], leading: CellSummary) -> list[Batch]:
    """Return for each batch size that both devices have the fastest cell of each, and their ratio.

    Of the leading cell's network and data: only such cells have a speedup over its baseline.
    """
    fastest = {}
    for row in cells:
        if row.counts and row.baseline == leading.baseline:
            of_size = fastest.setdefault(row.settings.batch_size, {})
            best = of_size.get(row.device)
            if best is None or row.epoch_seconds.estimate < best.epoch_seconds.estimate:
                of_size[row.device] = row
    both = [(size, rows["cpu"], rows["gpu"]) for size, rows in sorted(fastest.items()) if len(rows) == 2]
    if len(both) < 2:
        return []
    return [
        Batch(size, cpu.cell, gpu.cell, cpu.epoch_seconds.estimate / gpu.epoch_seconds.estimate)
        for size, cpu, gpu in both
    ]
