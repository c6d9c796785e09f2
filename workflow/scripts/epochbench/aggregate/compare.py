"""What changed since an export, cell by cell."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from epochbench.aggregate.cells import summarise_cell
from epochbench.aggregate.contrast import Contrast, cautious, contrast_of, ratio_of, smallest_slowdown, verdicts
from epochbench.aggregate.disturbed import counting_by_cell
from epochbench.aggregate.floors import Floors
from epochbench.aggregate.labels import labels
from epochbench.aggregate.machines import differing_facts
from epochbench.aggregate.moderated import moderated
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError
from epochbench.records import gates
from epochbench.stats import Interval, simultaneous
from epochbench.timing.record import Record

NEW, MISSING, INVALID = "NEW", "MISSING", "INVALID"


@dataclass(frozen=True)
class Comparison:
    """One cell then and now."""

    cell: str  # its name
    verdict: str  # FASTER, SLOWER, SAME or AMBIGUOUS; NEW, MISSING or INVALID where nothing can be compared
    ratio: Interval | None  # how many times faster it is now; None where nothing can be compared
    smallest_slowdown: float | None  # found 8 times in 10, 0.1 is 10 % more time; None where there is none to find
    note: str  # why there is no ratio, or what else is different
    label: str = ""  # the cell in words


def compare(before: list[Record], now: list[Record], settings: Settings, threshold: float) -> list[Comparison]:
    """Compare two sets of records cell by cell.

    The cells lend each other their spread (moderated.py), and their verdicts are passed together, by Holm's rule. A
    cell is the same as itself. `threshold` is the slowdown that matters: 0.05 is 5 % more time.
    """
    old, new = counting_by_cell(before), counting_by_cell(now)
    found = {name: _without_contrast(name, old.get(name, []), new.get(name, []), settings) for name in {**new, **old}}
    if not found:
        raise BenchmarkError("there is no record on either side; run `snakemake --cores all` first")
    pairs = {name: contrast_of(old[name], new[name]) for name in found if not found[name]}
    for name, comparison in judge_together(pairs, settings, threshold).items():
        found[name] = replace(comparison, note=", ".join(what_differs(old[name], new[name])))
    words = labels({name: (new.get(name) or old[name])[0].cell for name in found}, settings.labels)
    return [replace(one, label=words[name]) for name, one in found.items()]


def judge_together(pairs: dict[str, Contrast], settings: Settings, threshold: float) -> dict[str, Comparison]:
    """Return the comparison of each cell's contrast of then with now.

    What the threshold calls a regression is never the same, however large a change counts as noise elsewhere.
    """
    moderate = moderated([cautious(pair) for pair in pairs.values()])
    words = verdicts(moderate, settings.confidence, min(settings.noise_threshold, threshold))
    confidence = simultaneous(settings.confidence, len(moderate))
    return {
        name: Comparison(
            name, word, ratio_of(pair, settings.confidence), smallest_slowdown(pair, confidence, threshold), ""
        )
        for name, pair, word in zip(pairs, moderate, words, strict=True)
    }


def _without_contrast(name: str, old: list[Record], new: list[Record], settings: Settings) -> Comparison | None:
    """Return the comparison of a cell whose two sides cannot be held against each other, or need not be."""

    def differs(fact: Callable[[Record], object]) -> bool:
        return {fact(run) for run in old} != {fact(run) for run in new}

    wrong = [f"{where}: {', '.join(failed)}" for where, runs in (("in the base", old), ("here", new))
             if (failed := failed_gates(runs, settings))]  # fmt: skip
    reasons = (
        (MISSING, not new, "not here"),
        (INVALID, wrong, f"gate failed {'; '.join(wrong)}"),
        (NEW, not old, "not in the base"),
        (MISSING, differs(lambda run: run.dataset.fingerprint), "trained on other data"),
        (MISSING, differs(lambda run: run.protocol.optimizer), "trained by another optimiser"),
        (MISSING, differs(lambda run: run.protocol.residency), "images elsewhere when the clock started"),
        (MISSING, differs(lambda run: run.cell.framework), "trained by another framework"),
        (MISSING, differs(lambda run: replace(run.cell, cell="")), "the cell sets something else"),
    )
    for verdict, applies, note in reasons:
        if applies:
            return Comparison(name, verdict, None, None, note)
    if {run.checksum for run in old} == {run.checksum for run in new}:
        return Comparison(name, "SAME", Interval(1.0, 1.0, 1.0), None, "the very same runs")
    return None


def failed_gates(runs: list[Record], settings: Settings) -> list[str]:
    """Return the hard gates that a cell's runs fail by themselves, whatever the baseline."""
    findings = summarise_cell(runs, None, runs[0], settings, Floors(runs)).gates if runs else []
    return [finding.gate for finding in findings if finding.severity == gates.HARD and finding.passed is False]


def what_differs(old: list[Record], new: list[Record]) -> list[str]:
    """Return in words what else differs between two sets of runs: machine, timing code, and the stack's versions."""
    shared = {run.checksum for run in old} & {run.checksum for run in new}
    notes = [
        ("other machine", {run.machine.fingerprint for run in old} != {run.machine.fingerprint for run in new}),
        ("other timing code", {run.code.digest for run in old} != {run.code.digest for run in new}),
        (f"{len(shared)} of the runs in common", shared),
    ]
    changed = differing_facts(old, new).items()
    versions = [f"other {name} {before} -> {after}" for name, (before, after) in changed]
    return [note for note, applies in notes if applies] + versions
