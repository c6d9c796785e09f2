"""The tables about the ratio: where it comes from, how else it could be scored, when it pays, what others published."""

from epochbench import wording
from epochbench.aggregate.labels import with_framework
from epochbench.aggregate.summary import BreakEven, Rung, Summary
from epochbench.report.references import Reference


def rung_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the rungs of the ladder, with what is multiplied up since the first."""
    return [
        {
            "cell": rung.cell,
            "changes": rung.changed or "where it starts",
            "one epoch": wording.seconds(rung.seconds),
            "as fast as before": factor_in_words(rung),
            "with its interval": wording.ratio_with_interval(rung.factor) if rung.factor else "",
            "as fast as the first": _times(summary.ladder[0].seconds / rung.seconds),
            "in the sheet's words": rung.settings or "",
        }
        for rung in summary.ladder
    ]


def factor_in_words(rung: Rung) -> str:
    """Return how many times as fast a rung is as the one before, in digits enough to multiply; or that it is first."""
    return "start" if rung.factor is None else _times(rung.factor.estimate)


def _times(ratio: float) -> str:
    return f"{wording.significant(ratio, 3)}x"


def ladder_sentences(summary: Summary) -> list[str]:
    """Return what the ladder adds up to, and what must be known to read it; none without a ladder."""
    rungs = summary.ladder
    if not rungs:
        return []
    whole, printed = _times(rungs[0].seconds / rungs[-1].seconds), wording.ratio(summary.headline.speedup)
    labels = summary.labels
    first, last = (f'"{labels[rung.cell]}"' for rung in (rungs[0], rungs[-1]))
    steps = "1 step makes" if len(rungs) == 2 else f"{len(rungs) - 1} steps multiply to"
    rounded = "" if whole == printed else f" (written {printed} there, as its interval allows)"
    return [
        f"From {first} to {last}, {steps} {whole}, the ratio at the top of this page{rounded}.",
        *_parts_of_the_ratio(rungs),
        "The order matters: a change is worth what it brings on top of those before it, and another order would share "
        "the same ratio out differently.",
    ]


def _parts_of_the_ratio(rungs: list[Rung]) -> list[str]:
    """Return what the steps before, at and after the change of device come to; nothing on a single device."""
    crossing = next((place for place, rung in enumerate(rungs) if rung.device != rungs[0].device), None)
    if crossing is None:
        return []
    first, there = rungs[0].device.upper(), rungs[-1].device.upper()
    before, over = rungs[0].seconds / rungs[crossing - 1].seconds, rungs[crossing].factor.estimate
    after, crossed = rungs[crossing].seconds / rungs[-1].seconds, rungs[crossing]
    what = "more than the device" if ":" in crossed.settings else "the device alone"
    return [
        f"The steps on the {first} make {_times(before)}, the step over to the {there} {_times(over)}, those on the "
        f"{there} {_times(after)}.",
        f"The step over changes {what}: {crossed.changed}.",
    ]


def replay_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the headline's speedup as each estimator would have it."""
    scores = summary.headline.replay if summary.headline else {}
    return [{"estimator": name, "speedup": f"{wording.significant(value, 4)}x"} for name, value in scores.items()]


def break_even_sentences(summary: Summary) -> list[str]:
    """Return when the GPU pays, in sentences; none where the sheet has no cells for it."""
    pays = summary.break_even
    if pays is None:
        return []
    labels = summary.labels
    sentences = [f'"{labels[pays.gpu]}" against "{labels[pays.cpu]}": {_epochs_that_repay(pays)}']
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
            "fastest CPU cell": _of_framework(batch.cpu, summary),
            "fastest GPU cell": _of_framework(batch.gpu, summary),
            "GPU as fast as CPU": f"{wording.significant(batch.times_faster, 3)}x",
        }
        for batch in (summary.break_even.batches if summary.break_even else [])
    ]


def _of_framework(cell: str, summary: Summary) -> str:
    """Return a cell's name, with its framework where that is not PyTorch."""
    settings = next(row.settings for row in summary.cells if row.cell == cell)
    named = with_framework(settings).removeprefix(" ")
    return f"{cell} ({named})" if named else cell


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
