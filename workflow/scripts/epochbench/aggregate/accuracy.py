"""How long training takes until a test accuracy, over the runs of a cell and against the baseline's."""

from dataclasses import replace
from statistics import mean

from epochbench import wording
from epochbench.aggregate.baseline import first_of
from epochbench.aggregate.cells import mean_if_known
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, ToAccuracy
from epochbench.stats import Interval, speedup, typical_epoch
from epochbench.timing.quiet import MAX_OTHERS_SHARE
from epochbench.timing.record import Record, UntilAccuracy


def with_accuracy(cells: list[CellSummary], by_cell: dict[str, list[Record]], settings: Settings) -> list[CellSummary]:
    """Return the rows with how long each cell trained until the accuracy that was asked for.

    All are held against the baseline that the config names, unless a hard gate failed there: what a machine trains, and
    how, is its own choice, as long as data and accuracy are the same. `by_cell` has every run: what disturbed the timed
    epochs came before.
    """
    base = next((row for row in cells if row.cell == settings.baseline and row.valid), None)
    reference = by_cell[base.cell] if base else []
    return [replace(row, to_accuracy=to_accuracy(by_cell[row.cell], reference, settings)) for row in cells]


def to_accuracy(runs: list[Record], reference: list[Record], settings: Settings) -> ToAccuracy | None:
    """Return how long a cell's runs trained until their accuracy; None where none was asked for.

    A run that did not get there would have taken longer than it was trained for (it is censored). It counts with what
    it took, so that the mean is a bound from below, with neither an interval nor a ratio.
    """
    found = _of(runs)
    if not found:
        return None
    reached, epochs = sum(each.reached for each in found), [len(each.epoch_seconds) for each in found]
    typical = typical_epoch(_seconds(found), settings.confidence, first_of(runs))
    return ToAccuracy(
        accuracy=found[0].accuracy,
        runs=len(found),
        reached=reached,
        seconds=typical if reached == len(found) else Interval(None, typical.estimate, None),
        epochs=mean(epochs),
        fewest_epochs=min(epochs),
        most_epochs=max(epochs),
        allowed_epochs=runs[0].protocol.until_epochs,
        last_accuracy=mean(each.test_accuracies[-1] for each in found),
        evaluation_seconds=mean(each.evaluation_seconds for each in found),
        gpu_joules=mean_if_known([each.gpu_energy_joules for each in found], len(found)),
        cpu_joules=mean_if_known([each.cpu_energy_joules for each in found], len(found)),
        others_share=max(each.others_share for each in found),
        speedup=_speedup(runs, reference, settings.confidence),
    )


def _of(runs: list[Record]) -> list[UntilAccuracy]:
    return [run.until_accuracy for run in runs if run.until_accuracy]


def _seconds(found: list[UntilAccuracy]) -> list[list[float]]:
    """Return the seconds of each run's training, as the one sample that it is."""
    return [[sum(each.epoch_seconds)] for each in found]


def _speedup(runs: list[Record], reference: list[Record], confidence: float) -> Interval | None:
    """Return how many times sooner than the reference a cell gets there, None where that cannot be told.

    Runs of one seed begin with the same weights, lucky or not, so that they are compared pair by pair: Student's t on
    the logarithms of their ratios. Where no two seeds are common to both sides, Welch's interval takes its place.
    """
    sides = _of(reference), _of(runs)
    asked = {each.accuracy for side in sides for each in side}
    data = {run.dataset.fingerprint for run in [*runs, *reference]}
    if not sides[0] or len(asked) > 1 or len(data) > 1 or not all(each.reached for side in sides for each in side):
        return None
    if runs is reference:
        return Interval(1.0, 1.0, 1.0)
    slow, fast = ({each.seed: sum(each.epoch_seconds) for each in side} for side in sides)
    ratios = [[seconds / fast[seed]] for seed, seconds in slow.items() if seed in fast]
    if len(ratios) > 1:
        return typical_epoch(ratios, confidence)
    return speedup(*map(_seconds, sides), confidence, (first_of(reference), first_of(runs)))


def cautions(cells: list[CellSummary]) -> list[str]:
    """Return a note for each cell of which a run did not get there, and one for those that others disturbed."""
    asked = [(row.cell, row.to_accuracy) for row in cells if row.to_accuracy]
    disturbed = [f"{cell} ({wording.percent(found.others_share)})" for cell, found in asked if _is_disturbed(found)]
    taken = f"Others took up to so much of the cores on the way to the accuracy: {wording.listed(disturbed)}."
    return [_missed(*one) for one in asked if not one[1].is_known] + ([taken] if disturbed else [])


def _is_disturbed(found: ToAccuracy) -> bool:
    return found.others_share > MAX_OTHERS_SHARE


def _missed(cell: str, found: ToAccuracy) -> str:
    return (
        f"{found.runs - found.reached} of {found.runs} runs of {cell} did not reach {found.accuracy * 100:g} % test "
        f"accuracy within {wording.count(found.allowed_epochs)} epochs: how long it takes is known from below alone."
    )
