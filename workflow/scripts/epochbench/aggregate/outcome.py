"""What came of a comparison with an export, in one word, which has an exit status of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from epochbench import wording
from epochbench.aggregate.compare import INVALID, MISSING, NEW, Comparison
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import Quarantined

# workflow/compare.sh ends with these; 1 is any other error, and 2 is what make makes of all of them.
STATUSES = {"regression": 3, "missing": 4, "invalid": 5, "unsure": 6, "faster": 0, "same": 0}
SENTENCES = {
    "regression": "slower than {threshold}, allows: ",
    "missing": "nothing to compare with: ",
    "invalid": "numbers that do not count: ",
    "unsure": "too noisy to rule out a slowdown beyond {threshold}: ",
    "faster": "nothing is slower than {threshold}, allows, and surely faster: ",
    "same": "nothing is slower than {threshold}, allows, or surely faster",
}


@dataclass(frozen=True)
class Outcome:
    """What came of a comparison."""

    word: str  # a key of STATUSES
    status: int  # 0 where there is nothing to complain of
    sentence: str  # the word, and the cells that it is about


def conclude(
    comparisons: list[Comparison], left_out: Sequence[Quarantined], threshold: float, when_unsure: str
) -> Outcome:
    """Return what came of a comparison: the first of regression, missing, invalid, unsure, faster and same.

    `left_out` are the broken records of either side. `when_unsure` is "fail" where a comparison that is too noisy is
    to end with an error, else "pass".
    """
    found = {
        "regression": [_told(one) for one in comparisons if _is_regression(one, threshold)],
        "missing": _missing(comparisons),
        "invalid": [_told(one) for one in comparisons if one.verdict == INVALID]
        + [f"{file.file}: {file.reason}" for file in left_out],
        "unsure": [_told(one) for one in comparisons if _is_unsure(one, threshold)],
        "faster": [_told(one) for one in comparisons if one.verdict == "FASTER"],
    }
    word = next((word for word, named in found.items() if named), "same")
    status = 0 if (word, when_unsure) == ("unsure", "pass") else STATUSES[word]
    said = SENTENCES[word].format(threshold=f"compare.threshold, {threshold:g}")
    return Outcome(word, status, f"{word}: {said}{'; '.join(found.get(word, []))}")


def _told(one: Comparison) -> str:
    return f"{one.cell} {wording.ratio_with_interval(one.ratio) if one.ratio else f'({one.note})'}"


def _is_regression(one: Comparison, threshold: float) -> bool:
    """Tell whether a cell is surely slower, and by more than the threshold."""
    return one.verdict == "SLOWER" and one.ratio.estimate < 1 / (1 + threshold)


def _is_unsure(one: Comparison, threshold: float) -> bool:
    """Tell whether a cell may be slower by more than the threshold.

    Its own interval is enough: that no cell is too slow is only claimed where every one of them is proven not to be.
    """
    return one.ratio is not None and (one.ratio.low is None or one.ratio.low < 1 / (1 + threshold))


def _missing(comparisons: list[Comparison]) -> list[str]:
    """Return the cells that cannot be compared; a new one is no loss, unless there is nothing else."""
    only_new = all(one.verdict == NEW for one in comparisons)
    return [_told(one) for one in comparisons if one.verdict == MISSING or only_new]


def refuse(outcome: Outcome) -> None:
    """Raise BenchmarkError where there is something to complain of."""
    if outcome.status:
        raise BenchmarkError(outcome.sentence)
