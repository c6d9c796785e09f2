"""From records to the summary, from which everything is drawn."""

from collections.abc import Sequence
from dataclasses import replace

from epochbench import wording
from epochbench.aggregate.accuracy import cautions, with_accuracy
from epochbench.aggregate.answer import answer
from epochbench.aggregate.baseline import baseline_name, baselines, does_the_same_work, without_wrong_baselines
from epochbench.aggregate.break_even import break_even
from epochbench.aggregate.cells import summarise_cell, with_verdicts
from epochbench.aggregate.disturbed import counting_runs, disturbed_by, tries_of, usual_calibrations
from epochbench.aggregate.floors import Floors
from epochbench.aggregate.frameworks import frameworks
from epochbench.aggregate.headline import headline, overtaken, reservations
from epochbench.aggregate.labels import labels
from epochbench.aggregate.ladder import ladder
from epochbench.aggregate.machines import code_versions, differences, machines
from epochbench.aggregate.plan import Plan
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary, GateDemand, Missing, Summary
from epochbench.errors import BenchmarkError
from epochbench.records import gates
from epochbench.records.exchange import Quarantined
from epochbench.timing.protocol import HOST
from epochbench.timing.record import Dataset, Record, runs_by_cell
from epochbench.unseen import visible

# Of the images that stand in for CIFAR-10's.
STAND_IN_SHAPE, STAND_IN_CLASSES = [3, 32, 32], 10


def aggregate(
    records: list[Record],
    settings: Settings,
    notes: Sequence[str],
    left_out: Sequence[Quarantined] = (),
    failed: Sequence[Missing] = (),
    plan: Plan | None = None,
) -> Summary:
    """Return what all records together say.

    `left_out` are the files that were no valid records, `failed` the runs that wrote none, and `plan` that of the
    second stage, once there is one. Raises BenchmarkError where there is no record at all.
    """
    if not records:
        raise BenchmarkError("there is no record under results/train yet; run `snakemake --cores all` first")
    everyone, usual = runs_by_cell(records), usual_calibrations(records)
    by_cell = {name: counting_runs(runs, usual) for name, runs in everyone.items()}
    settings = replace(settings, baseline=baseline_name(settings.baseline, by_cell))
    bases = baselines(settings.baseline, by_cell)
    reference = by_cell.get(settings.baseline, records)[0]
    floors, words = Floors(records), labels({name: runs[0].cell for name, runs in by_cell.items()}, settings.labels)
    cells = []
    for name, runs in by_cell.items():
        disturbed = sum(bool(disturbed_by(run, usual)) for run in runs)
        row = summarise_cell(runs, bases.get(runs[0].cell.model), reference, settings, floors, disturbed)
        cells.append(replace(row, label=words[name], tries=tries_of(everyone[name], usual)))
    cells = _judge_baseline(without_wrong_baselines(cells), settings.baseline)
    cells = with_accuracy(cells, everyone, settings)
    leading, used = headline(cells, settings, by_cell, plan), machines(records)
    notes = [
        *_about_images(reference),
        *_otherwise_updated(reference),
        *reservations(cells, settings),
        *_disturbed(cells),
        *cautions(cells),
        *notes,
    ]
    notes += [plan.closing(leading and leading.speedup)] if plan else []
    notes += overtaken(cells, leading, settings, by_cell)
    notes = list(map(visible, [*notes, *_losses(left_out, failed)]))
    standing = frameworks(cells, settings, by_cell, reference, failed)
    return Summary(
        dataset=replace(reference.dataset, name=visible(reference.dataset.name)),
        settings=settings,
        headline=leading,
        ladder=ladder(cells, leading, by_cell, settings.confidence),
        break_even=break_even(cells, leading),
        frameworks=standing,
        code=code_versions(records),
        gates=[GateDemand(gate.name, gate.severity, gate.demand) for gate in gates.GATES],
        cells=with_verdicts(cells, by_cell, settings),
        machines=used,
        differences=differences(used),
        left_out=list(left_out),
        failed=list(failed),
        notes=notes,
        answer=answer(leading, cells, notes, standing),
    )


def is_stand_in(data: Dataset) -> bool:
    """Tell whether images are those that stand in for CIFAR-10's."""
    return data.synthetic and (data.image_shape, data.classes) == (STAND_IN_SHAPE, STAND_IN_CLASSES)


def _about_images(reference: Record) -> list[str]:
    """Return a note where the images are made up, and one where their way to the device is timed too."""
    meant = ", a stand-in for CIFAR-10" if is_stand_in(reference.dataset) else ""
    made_up = [f"The images are synthetic{meant}."] if reference.dataset.synthetic else []
    moved = "The images' way from the host's memory to the device is timed too (dataset.residency: host)."
    return [*made_up, *([moved] if reference.protocol.residency == HOST else [])]


def _otherwise_updated(reference: Record) -> list[str]:
    """Return a note where the optimiser is not the published one."""
    name = reference.protocol.optimizer
    return [] if name == "sgd" else [f"The weights are updated by {name}, where the published benchmark has sgd."]


def _disturbed(cells: list[CellSummary]) -> list[str]:
    """Return a note where runs ended disturbed, after all their tries."""
    told = [f"{row.disturbed_runs} of {row.cell}" for row in cells if row.disturbed_runs]
    return [f"Disturbed by other work: runs {wording.some(told)}; the page says how."] if told else []


def _losses(left_out: Sequence[Quarantined], failed: Sequence[Missing]) -> list[str]:
    """Return a note for each kind of thing that is not there."""
    notes = []
    if failed:
        names = wording.some(list(dict.fromkeys(run.cell for run in failed)))
        notes.append(f"{len(failed)} run{'s' * (len(failed) > 1)} failed: {names}.")
    if left_out:
        count = "A file was" if len(left_out) == 1 else f"{len(left_out)} files were"
        notes.append(f"{count} left out; the page says why.")
    return notes


def _judge_baseline(cells: list[CellSummary], name: str) -> list[CellSummary]:
    """Add to the baseline's row how far it is behind the best CPU cell that was timed here and does the same work."""
    base = next((row for row in cells if row.cell == name), None)
    if base is None or not base.valid:
        return cells
    rivals = [row for row in cells if row.device == "cpu" and row.counts and does_the_same_work(row, base)]
    seconds = base.epoch_seconds.estimate
    finding = gates.fair_baseline(seconds, min((row.epoch_seconds.estimate for row in rivals), default=seconds))
    return [replace(row, gates=[*row.gates, finding]) if row is base else row for row in cells]
