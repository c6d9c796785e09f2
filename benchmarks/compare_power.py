"""How often does a comparison cry wolf, and what does it find? Prints simulated error rates and power.

Two exports of the same cells are drawn, runs lognormal, and compared as `make compare` does; "cell by cell" is the same
by Welch's test on each cell alone, without Holm's rule. Then whole pages are drawn, all cells equal to their baseline.

Bars: of comparisons of equal exports at a spread of 2 and 5 %, and of pages of 14 equal cells, at most 5 % cry wolf,
spreads uneven between cells and numbers of runs included. A comparison finds the slowdown that it says it would find
in about 80 %; the share is printed.

Usage: python benchmarks/compare_power.py [SHEETS]
"""

import math
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))

from epochbench.aggregate.compare import judge_together
from epochbench.aggregate.contrast import cautious, contrast, ratio_of, verdicts
from epochbench.aggregate.outcome import conclude
from epochbench.aggregate.settings import Settings
from epochbench.stats import verdict

SHEETS = 2000
CELLS = 14
THRESHOLD = 0.05
BAR = 0.05
# The spread between the runs of each cell, for a sheet of so many; the last cell is the noisy one.
SPREADS = {
    "2 %": lambda random, cells: np.full(cells, 0.02),
    "5 %": lambda random, cells: np.full(cells, 0.05),
    "half 2, half 15 %": lambda random, cells: np.where(np.arange(cells) < cells // 2, 0.02, 0.15),
    "0.5 to 20 %": lambda random, cells: np.exp(random.uniform(math.log(0.005), math.log(0.2), cells)),
    "1 %, one 10 %": lambda random, cells: np.where(np.arange(cells) < cells - 1, 0.01, 0.1),
}


def draw(random, spreads, counts) -> list[list[list[float]]]:
    """Return the epoch times of each cell's runs, an epoch a run."""
    return [
        np.exp(random.normal(0, spread, (count, 1))).tolist() for spread, count in zip(spreads, counts, strict=True)
    ]


def contrasts(random, spreads, runs: tuple[int, int], slowdown: float = 1.0) -> dict:
    """Return the contrast of each cell, drawn with so many runs then and now; the first cell may be slower now."""
    before, now = (draw(random, spreads, [count] * len(spreads)) for count in runs)
    now[0] = [[seconds * slowdown for seconds in run] for run in now[0]]
    return {f"cell-{place}": contrast(*sides) for place, sides in enumerate(zip(before, now, strict=True))}


def by_itself(pairs: dict) -> bool:
    """Tell whether a regression would be found by each cell's own interval."""
    ratios = [ratio_of(pair) for pair in pairs.values()]
    return any(verdict(ratio) == "SLOWER" and ratio.estimate < 1 / (1 + THRESHOLD) for ratio in ratios)


def false_alarms(random, sheets: int, spread, cells: int, runs: tuple[int, int]) -> tuple[float, float]:
    """Return the shares of equal exports that end with a regression: as compare does, and cell by cell."""
    ours, theirs = 0, 0
    for _ in range(sheets):
        pairs = contrasts(random, spread(random, cells), runs)
        found = list(judge_together(pairs, Settings(), THRESHOLD).values())
        ours += conclude(found, [], THRESHOLD, "pass").word == "regression"
        theirs += by_itself(pairs)
    return ours / sheets, theirs / sheets


def power(random, sheets: int, spread: float, runs: int, slowdown: float) -> tuple[float, float]:
    """Return how often a slowdown of the first cell is found, and the median of the slowdown said to be findable."""
    found, told = 0, []
    for _ in range(sheets):
        pairs = contrasts(random, np.full(CELLS, spread), (runs, runs), slowdown)
        first = judge_together(pairs, Settings(), THRESHOLD)["cell-0"]
        found += first.verdict == "SLOWER" and first.ratio.estimate < 1 / (1 + THRESHOLD)
        told.append(first.smallest_slowdown)
    return found / sheets, float(np.median(told))


def false_pages(random, sheets: int, spread, counts: list[int]) -> float:
    """Return the share of pages of equal cells, the first of them the baseline, that say FASTER or SLOWER anywhere."""
    false = 0
    for _ in range(sheets):
        baseline, *cells = draw(random, spread(random, len(counts)), counts)
        words = verdicts([cautious(contrast(baseline, cell)) for cell in cells], 0.95, 0.02)
        false += bool({"FASTER", "SLOWER"} & set(words))
    return false / sheets


def main() -> None:
    sheets = int(sys.argv[1]) if len(sys.argv) > 1 else SHEETS
    random, worst = np.random.default_rng(1), 0.0
    print(
        f"Equal exports that end with a regression, {sheets} comparisons each (bar: {BAR:.0%}); cell by cell beside it"
    )
    for name, spread in SPREADS.items():
        for cells in (8, CELLS):
            for runs in ((3, 3), (5, 5), (3, 10), (3, 20), (20, 3)):
                ours, theirs = false_alarms(random, sheets, spread, cells, runs)
                worst = max(worst, ours)
                counts = f"{cells:>2} cells {runs[0]:>2} runs against {runs[1]:>2}"
                print(f"  spread {name:<18} {counts} {ours:>7.1%} {theirs:>7.1%}", flush=True)
    print("Pages of 14 equal cells that say FASTER or SLOWER anywhere (bar: 5 %)")
    plans = {"3 runs": [3] * CELLS, "5 runs": [5] * CELLS, "10 of the baseline, 3": [10] + [3] * (CELLS - 1)}
    for name, spread in SPREADS.items():
        for plan, counts in plans.items():
            share = false_pages(random, sheets, spread, counts)
            worst = max(worst, share)
            print(f"  spread {name:<18} {plan:<22} {share:>7.1%}", flush=True)
    print(
        "A slowdown of one cell of 14 that is found; the slowdown that the comparison says it would find 8 times in 10"
    )
    for spread in (0.02, 0.05):
        for runs in (3, 5, 10):
            shares = {slowdown: power(random, sheets // 4, spread, runs, slowdown) for slowdown in (1.05, 1.1, 1.2)}
            told = shares[1.1][1]
            at_told, _ = power(random, sheets // 4, spread, runs, 1 + told)
            found = "  ".join(f"{slowdown - 1:.0%}: {share:>6.1%}" for slowdown, (share, _) in shares.items())
            print(f"  spread {spread:.0%} {runs:>2} runs  {found}  said: {told:.1%}, found {at_told:.0%}", flush=True)
    sys.exit(f"worst share {worst:.1%}, above the bar" if worst > BAR else 0)


if __name__ == "__main__":
    main()
