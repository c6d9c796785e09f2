"""One cell's row of the summary, from the records of its runs."""

from dataclasses import replace
from statistics import mean, median

from epochbench.aggregate.baseline import epoch_times, first_of, is_comparable, speedup_over
from epochbench.aggregate.contrast import cautious, contrast_of, verdicts
from epochbench.aggregate.floors import Floors
from epochbench.aggregate.machines import devices_used, hardware, hardware_used, other_software
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import CellSummary
from epochbench.records import gates, run_gates
from epochbench.stats import outliers, relative_spread, typical_epoch
from epochbench.timing.record import Finding, Record
from epochbench.unseen import visible

SECONDS_PER_HOUR = 3600
FEW_RUNS = 3


def summarise_cell(
    runs: list[Record],
    base: list[Record] | None,
    reference: Record,
    settings: Settings,
    floors: Floors,
    disturbed: int = 0,
) -> CellSummary:
    """Return what the runs of one cell say together; label and verdict, which depend on the other cells, come later.

    `base` has the runs of its network's baseline, None where there is none; `reference` is the record whose data and
    network the headline is about; `floors` know the machines' peaks; `disturbed` is how many of the runs were disturbed
    and count all the same.
    """
    first, samples = runs[0], epoch_times(runs)
    typical = typical_epoch(samples, settings.confidence, first_of(runs))
    findings = _findings(runs, base, floors, disturbed)
    comparable = base is not None and is_comparable(first, base[0])
    ratio = speedup_over(base, runs, settings.confidence) if comparable else None
    images = (reference if comparable else first).dataset.train_images
    return CellSummary(
        cell=first.cell.cell,
        label=first.cell.cell,
        device=first.cell.device,
        hardware=hardware_used(first),
        settings=first.cell,
        runs=len(runs),
        epoch_seconds=typical,
        **_spread(samples),
        images_per_second=images / typical.estimate,
        baseline=base[0].cell.cell if comparable else None,
        speedup=ratio,
        verdict=None,
        flags=_flags(runs, base, reference)
        + [f"gate failed: {each.gate}" for each in findings if each.passed is False]
        + ([f"{disturbed} of {len(runs)} runs disturbed"] if disturbed else []),
        gates=findings,
        node=", ".join(dict.fromkeys(visible(run.machine.node) for run in runs)),
        valid=all(each.passed is not False for each in findings if each.severity == gates.HARD),
        **_parts_of_a_run(runs),
        **_training(runs),
        **_conditions(runs),
        limit=floors.distance(runs, typical.estimate),
        cost_per_epoch=_cost(typical.estimate * devices_used(first), hardware(first), settings.per_hour),
        tries=[],
    )


def with_verdicts(cells: list[CellSummary], by_cell: dict[str, list[Record]], settings: Settings) -> list[CellSummary]:
    """Return the rows with their verdicts, which are passed on all of them together.

    A baseline is the same as itself, and a row without a speedup has no verdict.
    """
    held = [row for row in cells if row.speedup and row.cell != row.baseline]
    pairs = [contrast_of(by_cell[row.baseline], by_cell[row.cell]) for row in held]
    words = verdicts(list(map(cautious, pairs)), settings.confidence, settings.noise_threshold)
    found = dict(zip((row.cell for row in held), words, strict=True))
    return [replace(row, verdict=found.get(row.cell, "SAME" if row.speedup else None)) for row in cells]


def _findings(runs: list[Record], base: list[Record] | None, floors: Floors, disturbed: int) -> list[Finding]:
    """Return each gate's worst finding over the runs, and what the runs are only together."""
    return [
        *gates.worst([gates.findings(run, floors.peaks(run)) for run in runs]),
        gates.same_data_same_code(runs, base or []),
        gates.one_kind_of_machine([hardware(run) for run in runs]),
        run_gates.one_stack(runs),
        run_gates.repeatable(epoch_times(runs), disturbed),
    ]


def _spread(samples: list[list[float]]) -> dict[str, float | int | None]:
    """Return how the timed epochs spread, over runs and within them."""
    every = sorted(value for run in samples for value in run)
    return {
        "epochs": len(every),
        "median_seconds": float(median(every)),
        "mean_seconds": mean(every),
        "minimum_seconds": every[0],
        "relative_spread": relative_spread(samples),
        "outliers": sum(map(outliers, samples)),
    }


def _parts_of_a_run(runs: list[Record]) -> dict[str, float | None]:
    """Return the mean seconds of each part of a run outside the timed epochs."""
    parts = ("start", "load", "first_step", "evaluation", "check", "calibration")
    means = {f"{part}_seconds": mean_if_known([getattr(run.timing, f"{part}_seconds") for run in runs], 1)
             for part in parts}  # fmt: skip
    return means | {"wall_seconds": mean(run.wall_seconds for run in runs)}


def mean_if_known(values: list[float | None], at_least: int) -> float | None:
    """Return the mean of the known values, None where fewer than so many are known."""
    known = [value for value in values if value is not None]
    return mean(known) if len(known) >= at_least else None


def _training(runs: list[Record]) -> dict[str, float | int | None]:
    """Return what was learned, and by how much work. A loss that is not a number has no mean."""
    first = runs[0]
    last_losses = [run.training.epoch_losses[-1] if run.training.epoch_losses else None for run in runs]
    epochs = len(first.timing.epoch_seconds)
    return {
        "test_accuracy": mean(run.training.test_accuracy for run in runs),
        "final_loss": mean_if_known(last_losses, len(runs)),
        "steps": first.protocol.warmup_steps + first.training.steps_per_epoch * epochs,
        "parameters": first.training.parameters,
        "peak_memory_bytes": max(run.training.peak_memory_bytes for run in runs),
    }


def _conditions(runs: list[Record]) -> dict[str, float | int | None]:
    """Return what the machine did meanwhile; an energy is unknown where one run's counter is."""
    conditions = [run.conditions for run in runs]
    epochs = sum(len(run.timing.epoch_seconds) for run in runs)
    gpu, cpu = ([getattr(each, f"{kind}_energy_joules") for each in conditions] for kind in ("gpu", "cpu"))
    return {
        "threads": conditions[0].threads,
        "minor_page_faults": round(mean(each.minor_page_faults for each in conditions)),
        "lock_wait_seconds": sum(each.lock_wait_seconds for each in conditions),
        "gpu_joules_per_epoch": None if None in gpu else sum(gpu) / epochs,
        "cpu_joules_per_epoch": None if None in cpu else sum(cpu) / epochs,
    }


def _cost(seconds: float, name: str, per_hour: dict[str, float]) -> float | None:
    """Return the price of so many seconds of one device, by the hardware's name, with or without its cores."""
    price = per_hour.get(name) or per_hour.get(name.rsplit(",", 1)[0])
    return None if price is None else seconds / SECONDS_PER_HOUR * price


def _flags(runs: list[Record], base: list[Record] | None, reference: Record) -> list[str]:
    """Return what a reader must know beside this cell's number."""
    first, few = runs[0], len(runs) < FEW_RUNS
    rules = (
        (first.dataset.synthetic, "synthetic data"),
        (few, f"{len(runs)} run{'s' if len(runs) > 1 else ''} only"),
        (any(run.dataset.fingerprint != reference.dataset.fingerprint for run in runs), "other data than the baseline"),
        (
            first.protocol.residency != reference.protocol.residency,
            f"images begin in the {first.protocol.residency}'s memory",
        ),
        (first.cell.model != reference.cell.model, "other network than the headline's"),
        (first.protocol.optimizer != reference.protocol.optimizer, "other optimiser than the baseline"),
        (first.cell.batch_size != reference.cell.batch_size, "other batch size than the baseline"),
        (first.cell.framework != reference.cell.framework, "other framework than the baseline"),
        (base and other_software(runs, base), "other software than the baseline"),
    )
    return [flag for applies, flag in rules if applies]
