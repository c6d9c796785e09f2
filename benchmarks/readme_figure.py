"""The figure of README, drawn by the page's own code from what config/published.tsv has of an H200 and its host.

A row says its epoch time, the interval and the number of runs. The interval is Student's on the logarithms, from the
three runs of the first stage (Stein 1945), so that it tells their spread, and two spreads tell the ratio's interval.

Usage: python benchmarks/readme_figure.py [docs/speedup.png]
"""

import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
from scipy.special import stdtrit

HOME = Path(__file__).parents[1]
sys.path.insert(0, str(HOME / "workflow" / "scripts"))

from epochbench.aggregate.labels import labels  # noqa: E402 - the package is not installed
from epochbench.aggregate.plain import plain_sentence  # noqa: E402
from epochbench.report.figure import draw_speedup  # noqa: E402
from epochbench.sheets import read_cells, read_published  # noqa: E402
from epochbench.stats import Interval, Spread, half_width  # noqa: E402

OURS = re.compile(r"(?P<machine>16 Xeon cores|H200) 2026, (?P<cell>[\w-]+)")
MEASURED = re.compile(r"geometric mean of (?P<runs>\d+) runs \((?P<low>[\d.]+)-(?P<high>[\d.]+) s\)")
OTHERS = "Flux.jl"
FIRST_RUNS, CONFIDENCE = 3, 0.95
BASELINE, BEST_CPU, BEST = "cpu-reference", "cpu-bf16", "gpu-best"


def row_of(published: dict, settings) -> SimpleNamespace:
    """Return a published row of ours as the figure takes a cell's, and how its runs spread."""
    found = MEASURED.search(published["statistic"])
    runs, low, high = int(found["runs"]), float(found["low"]), float(found["high"])
    error = math.log(high / low) / 2 / stdtrit(FIRST_RUNS - 1, (1 + CONFIDENCE) / 2)
    return SimpleNamespace(
        cell=settings.cell,
        device=settings.device,
        hardware=published["hardware"],
        settings=settings,
        epoch_seconds=Interval(low, published["seconds"], high),
        spread=Spread(error * math.sqrt(runs), FIRST_RUNS, runs),
        baseline=BASELINE,
    )


def over(slow: SimpleNamespace, fast: SimpleNamespace) -> Interval:
    """Return how many times as fast one row is as another."""
    ratio = slow.epoch_seconds.estimate / fast.epoch_seconds.estimate
    if slow is fast:
        return Interval(1.0, 1.0, 1.0)
    half = math.exp(half_width([slow.spread, fast.spread], CONFIDENCE))
    return Interval(ratio / half, ratio, ratio * half)


def main(path: str) -> None:
    """Draw the figure."""
    published = read_published(HOME / "config" / "published.tsv")
    cells = {cell.cell: cell for cell in read_cells(HOME / "config" / "cells.tsv")}
    ours = [(row, OURS.fullmatch(row["label"])) for row in published]
    rows = {found["cell"]: row_of(row, cells[found["cell"]]) for row, found in ours if found}
    words = labels({name: cells[name] for name in rows}, {})
    for name, row in rows.items():
        row.label, row.speedup = words[name], over(rows[BASELINE], row)
    fair = rows[BEST_CPU], over(rows[BEST_CPU], rows[BEST])
    plain = plain_sentence(rows[BASELINE], rows[BEST], rows[BEST].speedup, fair=fair, is_best=True)
    summary = SimpleNamespace(
        cells=list(rows.values()),
        has_intervals=True,
        headline=SimpleNamespace(plain=f"{plain}."),
        dataset=SimpleNamespace(
            train_images=50_000, synthetic=True, name="stand-in for CIFAR-10", image_shape=[3, 32, 32]
        ),
        settings=SimpleNamespace(confidence=CONFIDENCE),
        notes=[],
    )
    samples = pd.DataFrame(columns=["cell", "device", "run", "epoch", "epoch_seconds"])
    draw_speedup(summary, samples, [row for row in published if row["label"].startswith(OTHERS)], [Path(path)])
    print(plain, fair[1], rows[BEST].speedup)


if __name__ == "__main__":
    main(*sys.argv[1:2] or [str(HOME / "docs" / "speedup.png")])
