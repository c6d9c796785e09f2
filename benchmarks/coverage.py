"""Does the speedup's interval have the coverage it claims? Prints simulated coverage, false claims and power.

Epochs are lognormal; every run has a level of its own, since runs differ among themselves. Compared: Welch's t on the
logarithms of the runs' medians (ours), the same with pooled variances, and a percentile bootstrap over runs.

Then the second stage: runs are added to two cells of uneven spreads until the interval is within 10 %, or a budget of
15 further runs is spent. Compared: the spread of the first three runs (ours, Stein 1945) and that of all runs.

Bars: coverage of the 95 % interval 93-97 % at 3, 5 and 10 runs with a run-to-run spread of 0.5-5 %, and with the second
stage at spreads of 0.5-20 %; FASTER or SLOWER claimed of identical cells at most 5 %; a true 10 % with a spread of 1 %
and 5 runs seen over 95 %.

Usage: python benchmarks/coverage.py
"""

import sys
from pathlib import Path

import numpy as np
from scipy.special import stdtrit

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow" / "scripts"))

from epochbench.aggregate.more_runs import Side, further_runs
from epochbench.stats import speedup, spread_of, verdict

TRIALS = 4000
EPOCHS = 3
EPOCH_NOISE = 0.02
RESAMPLES = 400
TRUE_RATIO = 3.0
FIRST_RUNS, TARGET, RUN_SECONDS, FURTHER_RUNS = 3, 0.1, 10.0, 15
UNEVEN = ((0.005, 0.005), (0.005, 0.05), (0.02, 0.02), (0.02, 0.1), (0.05, 0.05), (0.05, 0.2), (0.1, 0.005), (0.2, 0.2))


def simulate(random, runs: int, spread: float, typical: float) -> list[list[float]]:
    """Return the epoch times of some runs in seconds."""
    levels = random.normal(0, spread, (runs, 1))
    return (typical * np.exp(levels + random.normal(0, EPOCH_NOISE, (runs, EPOCHS)))).tolist()


def pooled(slow, fast) -> tuple[float, float]:
    a, b = (np.log([np.median(run) for run in side]) for side in (slow, fast))
    error = np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)) * stdtrit(len(a) + len(b) - 2, 0.975)
    centre = a.mean() - b.mean()
    return float(np.exp(centre - error)), float(np.exp(centre + error))


def bootstrap(random, slow, fast) -> tuple[float, float]:
    a, b = (np.log([np.median(run) for run in side]) for side in (slow, fast))
    draws = [side[random.integers(0, len(side), (RESAMPLES, len(side)))].mean(axis=1) for side in (a, b)]
    return tuple(np.exp(np.percentile(draws[0] - draws[1], [2.5, 97.5])))


def coverage(random, runs: int, spread: float) -> dict[str, float]:
    """Return how often each interval holds the true ratio."""
    held = {"Welch": 0, "pooled t": 0, "bootstrap": 0}
    for _ in range(TRIALS):
        slow, fast = simulate(random, runs, spread, TRUE_RATIO), simulate(random, runs, spread, 1.0)
        ours = speedup(slow, fast)
        intervals = {"Welch": (ours.low, ours.high), "pooled t": pooled(slow, fast)}
        intervals["bootstrap"] = bootstrap(random, slow, fast)
        for name, (low, high) in intervals.items():
            held[name] += low <= TRUE_RATIO <= high
    return {name: count / TRIALS for name, count in held.items()}


def claimed(random, runs: int, spread: float, ratio: float) -> float:
    """Return how often FASTER or SLOWER is claimed."""
    verdicts = [
        verdict(speedup(simulate(random, runs, spread, ratio), simulate(random, runs, spread, 1.0)))
        for _ in range(TRIALS)
    ]
    return sum(word in ("FASTER", "SLOWER") for word in verdicts) / TRIALS


def second_stage(random, spreads: tuple[float, float]) -> tuple[float, float, float, float]:
    """Return the coverage with the spread of the first runs and of all, how often it is sharp, and the runs added."""
    held, plain, sharp, added = 0, 0, 0, 0
    for _ in range(TRIALS):
        draws = [random.normal(0, spread, FIRST_RUNS + FURTHER_RUNS) for spread in spreads]
        every = [[[float(value)] for value in np.exp(draw)] for draw in draws]
        sides = [Side(name, spread_of(runs[:FIRST_RUNS]), RUN_SECONDS) for name, runs in zip("ab", every, strict=True)]
        counts, seconds = further_runs(sides, TARGET, FURTHER_RUNS * RUN_SECONDS, 0.95)
        timed = [runs[: counts[name]] for name, runs in zip("ab", every, strict=True)]
        ours, all_runs = speedup(*timed, first=(FIRST_RUNS, FIRST_RUNS)), speedup(*timed)
        held += ours.low <= 1 <= ours.high
        plain += all_runs.low <= 1 <= all_runs.high
        sharp += ours.high / ours.estimate <= 1 + TARGET
        added += seconds / RUN_SECONDS
    return held / TRIALS, plain / TRIALS, sharp / TRIALS, added / TRIALS


def main() -> None:
    random = np.random.default_rng(1)
    print(f"coverage of the 95 % interval, {TRIALS} trials each (bar for Welch: 93-97 %)")
    print(f"{'runs':>4} {'spread':>7} {'Welch':>8} {'pooled t':>9} {'bootstrap':>10} {'false claims':>13}")
    for runs in (3, 5, 10):
        for spread in (0.005, 0.01, 0.02, 0.05):
            covered = coverage(random, runs, spread)
            false = claimed(random, runs, spread, 1.0)
            cells = f"{covered['Welch']:>8.1%} {covered['pooled t']:>9.1%} {covered['bootstrap']:>10.1%} {false:>13.1%}"
            print(f"{runs:>4} {spread:>7.1%} {cells}")
    print(f"power, a true 10 % with a spread of 1 % and 5 runs: {claimed(random, 5, 0.01, 1.1):.1%} (bar: over 95 %)")
    print("second stage, coverage by the spread of the first runs (bar: 93-97 %) and of all runs")
    print(f"{'spreads':>14} {'first runs':>11} {'all runs':>9} {'within 10 %':>12} {'runs added':>11}")
    for spreads in UNEVEN:
        held, plain, sharp, added = second_stage(random, spreads)
        print(f"{spreads[0]:>6.1%} {spreads[1]:>7.1%} {held:>11.1%} {plain:>9.1%} {sharp:>12.0%} {added:>11.1f}")


if __name__ == "__main__":
    main()
