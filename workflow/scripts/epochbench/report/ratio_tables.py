"""The tables about the ratio: where it comes from, how else it could be scored, when it pays, what others published."""

from epochbench import wording
from epochbench.aggregate.summary import BreakEven, Rung, Summary
from epochbench.report.references import Reference


def rung_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the rungs of the ladder, with what is multiplied up since the first."""
    return [
        {
            "cell": rung.cell,
            "changes": rung.changed or "where it starts",
            "one epoch": wording.seconds(rung.seconds),
            "times faster than before": factor_in_words(rung),
            "times faster than the first": f"{wording.significant(summary.ladder[0].seconds / rung.seconds, 3)}x",
        }
        for rung in summary.ladder
    ]


def factor_in_words(rung: Rung) -> str:
    """Return how many times faster a rung is than the one before, or that it is the first."""
    return "start" if rung.factor is None else wording.ratio(rung.factor)


def replay_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the headline's speedup as each estimator would have it."""
    scores = summary.headline.replay if summary.headline else {}
    return [{"estimator": name, "speedup": f"{wording.significant(value, 4)}x"} for name, value in scores.items()]


def break_even_sentences(summary: Summary) -> list[str]:
    """Return when the GPU pays, in sentences; none where the sheet has no cells for it."""
    pays = summary.break_even
    if pays is None:
        return []
    sentences = [f"{pays.gpu} against {pays.cpu}: {_epochs_that_repay(pays)}"]
    if pays.batch_size:
        sentences.append(f"From batches of {wording.count(pays.batch_size)} images on, the fastest GPU cell is faster.")
    elif pays.batches:
        sentences.append("At the largest batch size that both were timed at, the GPU is not faster.")
    return sentences


def _epochs_that_repay(pays: BreakEven) -> str:
    if pays.epochs is None:
        return "the GPU's epoch is not shorter, so it never pays."
    if pays.epochs == 0:
        return "starting, loading and the first step take no longer on the GPU: it pays at once."
    return (
        f"starting, loading and the first step take {wording.seconds(pays.extra_seconds)} longer on the GPU, which "
        f"{wording.significant(pays.epochs, 2)} epochs repay."
    )


def batch_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the GPU's speedup by batch size, where both devices were timed at several."""
    return [
        {
            "batch size": wording.count(batch.batch_size),
            "fastest CPU cell": batch.cpu,
            "fastest GPU cell": batch.gpu,
            "GPU faster by": f"{wording.significant(batch.times_faster, 3)}x",
        }
        for batch in (summary.break_even.batches if summary.break_even else [])
    ]


def reference_rows(references: list[Reference]) -> list[dict[str, str]]:
    """Return the published results with their time for as many images as an epoch has here."""
    return [
        {
            "result": reference.label,
            "hardware": reference.hardware,
            "published": wording.seconds(reference.seconds),
            "scaled": wording.seconds(reference.scaled_seconds),
            "statistic": reference.statistic,
            "source": reference.source,
        }
        for reference in references
    ]
