"""How long training takes until a test accuracy: a sentence, and a table with a row for each cell."""

from epochbench import wording
from epochbench.aggregate.summary import CellSummary, Summary, ToAccuracy


def accuracy_rows(summary: Summary) -> list[dict[str, str]]:
    """Return one dictionary of texts per cell, the quickest first; empty where no accuracy was asked for."""
    return [_row(row, summary) for row in _quickest_first(summary)]


def _quickest_first(summary: Summary) -> list[CellSummary]:
    """Return the cells by their seconds, those behind of which a run missed it."""
    asked = [row for row in summary.cells if row.to_accuracy]
    return sorted(asked, key=lambda row: (not row.to_accuracy.is_known, row.to_accuracy.seconds.estimate))


def _row(row: CellSummary, summary: Summary) -> dict[str, str]:
    found = row.to_accuracy
    return {
        "cell": row.cell,
        "training": _seconds(row),
        "interval": wording.interval_of_seconds(found.seconds) if found.is_known else "a run missed it",
        "epochs": _epochs(row),
        "reached by": f"{found.reached} of {found.runs} runs",
        "sooner": _sooner(row, summary),
        "others took": wording.percent(found.others_share),
        "last accuracy": f"{found.last_accuracy * 100:.1f} %",
        "evaluation": wording.seconds(found.evaluation_seconds),
        "GPU energy": wording.joules(found.gpu_joules),
        "CPU energy": wording.joules(found.cpu_joules),
    }


def _seconds(row: CellSummary) -> str:
    return f"{'' if row.to_accuracy.is_known else 'more than '}{wording.interval_seconds(row.to_accuracy.seconds)}"


def _epochs(row: CellSummary) -> str:
    found = row.to_accuracy
    between = f" ({_fewest_to_most(found)})" if found.fewest_epochs < found.most_epochs else ""
    return f"{wording.significant(found.epochs, 3)}{between}"


def _fewest_to_most(found: ToAccuracy) -> str:
    return wording.MINUS.join(f"{count:,}" for count in dict.fromkeys((found.fewest_epochs, found.most_epochs)))


def _sooner(row: CellSummary, summary: Summary) -> str:
    ratio = row.to_accuracy.speedup
    if row.cell == summary.settings.baseline:
        return "baseline"
    return wording.ratio_with_interval(ratio) if ratio else "unknown"


def accuracy_sentences(summary: Summary) -> list[str]:
    """Return how long the baseline and the quickest cell trained; empty where no accuracy was asked for."""
    rows = [row for row in _quickest_first(summary) if row.valid]
    base = [row for row in rows if row.cell == summary.settings.baseline]
    quickest = [row for row in rows[:1] if row not in base]
    return [_sentence(row, summary) for row in base + quickest]


def _sentence(row: CellSummary, summary: Summary) -> str:
    found, ratio = row.to_accuracy, row.to_accuracy.speedup
    goal, epochs = f"{found.accuracy * 100:g} % test accuracy", f"{_fewest_to_most(found)} epochs"
    if not found.is_known:
        return (
            f"{row.label} ({row.cell}) did not reach {goal} in {found.runs - found.reached} of {found.runs} runs: it "
            f"takes more than {wording.interval_seconds(found.seconds)} of training ({epochs})."
        )
    base = summary.settings.baseline
    times = f", {wording.ratio_with_interval(ratio)} as fast as {base}" if ratio and row.cell != base else ""
    return f"To {goal}, {row.label} ({row.cell}) trains {_seconds(row)} ({epochs}){times}."
