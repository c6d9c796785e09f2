"""From records to tables: epochs.csv, summary.csv, and summary.json, from which everything is drawn."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import mean

import pandas as pd

from epochbench import gates, story, wording
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.exchange import Quarantined, import_records
from epochbench.record import AFTERWARDS, Cell, Record, read_record, runs_by_cell, to_dict, write_json, write_text
from epochbench.statistics import (
    Interval,
    epoch_seconds,
    outliers,
    relative_spread,
    replay,
    speedup,
    verdict,
)


@dataclass(frozen=True)
class Settings:
    """How samples become numbers: the baseline's name, the intervals' confidence, what counts as noise, and prices."""

    baseline: str = "cpu-reference"
    confidence: float = 0.95
    noise_threshold: float = 0.02
    currency: str = "EUR"
    per_hour: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Missing:
    """A run that failed: its cell, its number, and the last words of its log."""

    cell: str
    run: int
    error: str


def aggregate(
    records: list[Record], settings: Settings, notes: list[str], left_out: Sequence = (), failed: Sequence = ()
) -> dict:
    """Return the summary of all records as plain data: dataset, cells, machines, headline and notes.

    `left_out` are the files that were no valid records (exchange.Quarantined), `failed` the runs that wrote none
    (Missing). Raises BenchmarkError where there is no record at all.
    """
    if not records:
        raise BenchmarkError("there is no record under results/train yet; run `snakemake --cores all` first")
    by_cell = runs_by_cell(records)
    settings = replace(settings, baseline=_baseline_here_or_imported(settings.baseline, by_cell))
    base = by_cell.get(settings.baseline)
    reference = (base or records)[0]
    bases = _baselines(by_cell, base)
    cells = [_summarise(runs, bases.get(runs[0].cell.model), reference, settings) for runs in by_cell.values()]
    cells = [story.with_cost(row, settings.per_hour) for row in cells]
    headline, machines = _headline(cells, settings, by_cell), _machines(records)
    synthetic = "The images are synthetic, a stand-in for CIFAR-10." if reference.dataset.synthetic else None
    missing = f"The baseline '{settings.baseline}' has no record, so there is no speedup." if base is None else None
    return {
        "schema_version": 1,
        "dataset": asdict(reference.dataset),
        "settings": asdict(settings),
        "headline": headline,
        "ladder": story.ladders(cells, by_cell, settings.confidence),
        "break_even": story.break_even(cells, headline),
        "code": _codes(records),
        "gates": [{"gate": gate.name, "severity": gate.severity, "demand": gate.demand} for gate in gates.GATES],
        "cells": _judge_baseline(cells, settings),
        "machines": machines,
        "differences": story.differences(machines),
        "left_out": [asdict(file) for file in left_out],
        "failed": [asdict(run) for run in failed],
        "notes": [note for note in (synthetic, missing, *notes, *_losses(left_out, failed)) if note],
    }


def _losses(left_out: Sequence, failed: Sequence) -> list[str]:
    """Return a note for each kind of thing that is not there."""
    said = []
    if failed:
        said.append(f"{len(failed)} runs failed: {', '.join(dict.fromkeys(run.cell for run in failed))}.")
    if left_out:
        said.append(f"{len(left_out)} files were left out; the page says why.")
    return said


def _baseline_here_or_imported(name: str, by_cell: dict) -> str:
    """Return the baseline's cell: this machine's, or else the only imported one of that name."""
    imported = [cell for cell in by_cell if cell.split("@")[0] == name]
    return imported[0] if name not in by_cell and len(imported) == 1 else name


def _baselines(by_cell: dict, base: list[Record] | None) -> dict[str, list[Record]]:
    """Return each network's baseline: the one that the config names, for other networks their first cell."""
    if base is None:
        return {}
    first = {}
    for runs in by_cell.values():
        first.setdefault(runs[0].cell.model, runs)
    return first | {base[0].cell.model: base}


def read_records(paths, imports=()) -> tuple[list[Record], list[Quarantined], list[str]]:
    """Read records in the order of the paths, then exports; return what was left out, and notes on differences."""
    records, left_out = [], []
    for path in paths:
        try:
            records.append(read_record(path))
        except BenchmarkError as error:
            left_out.append(Quarantined(str(path), in_one_line(error)))
    imported, wrong, notes = import_records(imports, records)
    return records + imported, left_out + wrong, notes


def write_tables(folder, records: list[Record], summary: dict) -> None:
    """Write epochs.csv (a row per timed epoch), summary.csv (a row per cell) and summary.json."""
    folder = Path(folder)
    write_text(folder / "epochs.csv", epoch_table(records).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "summary.csv", summary_table(summary).to_csv(index=False, lineterminator="\n"))
    write_json(folder / "summary.json", summary)


def epoch_table(records: list[Record]) -> pd.DataFrame:
    """Return the tidy table of every timed epoch, `epoch_seconds` by the wall and `event_seconds` by the device."""
    rows = []
    for record in records:
        times = record.timing
        events = times.event_seconds or [None] * len(times.epoch_seconds)
        for number, (wall, event) in enumerate(zip(times.epoch_seconds, events, strict=True), start=1):
            place = {"cell": record.cell.cell, "device": record.cell.device, "run": record.run, "epoch": number}
            rows.append(
                place
                | {
                    "epoch_seconds": wall,
                    "event_seconds": event,
                    "dataset": record.dataset.name,
                    "synthetic": record.dataset.synthetic,
                    "node": record.machine.node,
                }
            )
    return pd.DataFrame(rows)


def summary_table(summary: dict) -> pd.DataFrame:
    """Return a row per cell: nested values get a name with underscores, lists become text."""
    rows = [{key: value for key, value in row.items() if key != "gates"} for row in summary["cells"]]
    table = pd.json_normalize(rows, sep="_")
    table["flags"] = table["flags"].map("; ".join)
    return table.rename(columns={f"settings_{name}": name for name in Cell.__dataclass_fields__})


def _summarise(runs: list[Record], base: list[Record] | None, reference: Record, settings: Settings) -> dict:
    """Return one cell's row; `base` has the baseline's runs of its network."""
    samples = [run.timing.epoch_seconds for run in runs]
    every = sorted(value for run in samples for value in run)
    typical = epoch_seconds(samples, settings.confidence)
    found = gates.worst([gates.findings(run) for run in runs])
    found += [gates.same_data_same_code(runs, base or runs), gates.one_kind_of_machine([_hardware(r) for r in runs])]
    failed = [f"gate failed: {finding.gate}" for finding in found if finding.passed is False]
    flags = _flags(runs, reference) + failed
    comparable = base is not None and _comparable(runs[0], base[0])
    ratio = _against(base, runs, settings) if comparable else None
    images = reference.dataset.train_images if comparable else runs[0].dataset.train_images
    settings_ = asdict(runs[0].cell)
    return {
        "cell": settings_.pop("cell"),
        "device": settings_.pop("device"),
        "hardware": _hardware(runs[0]),
        "settings": settings_,
        "runs": len(runs),
        "epochs": len(every),
        "epoch_seconds": asdict(typical),
        "median_seconds": float(pd.Series(every).median()),
        "mean_seconds": mean(every),
        "minimum_seconds": every[0],
        "relative_spread": relative_spread(samples),
        "outliers": sum(map(outliers, samples)),
        "images_per_second": images / typical.estimate,
        "baseline": base[0].cell.cell if comparable else None,
        "speedup": asdict(ratio) if ratio else None,
        "verdict": verdict(ratio, settings.noise_threshold) if ratio else None,
        "flags": flags,
        "gates": [asdict(finding) for finding in found],
        "node": ", ".join(dict.fromkeys(run.machine.node for run in runs)),
        "valid": all(finding.passed is not False for finding in found if finding.severity == gates.HARD),
        "start_seconds": mean(run.timing.start_seconds for run in runs),
        "load_seconds": mean(run.timing.load_seconds for run in runs),
        "first_step_seconds": mean(run.timing.first_step_seconds for run in runs),
        **{part: _mean_where_known(runs, part) for part in AFTERWARDS},
        "wall_seconds": mean(run.wall_seconds for run in runs),
        "test_accuracy": mean(run.training.test_accuracy for run in runs),
        "final_loss": mean(run.training.epoch_losses[-1] for run in runs),
        "steps": runs[0].protocol.warmup_steps + runs[0].training.steps_per_epoch * len(runs[0].timing.epoch_seconds),
        "parameters": runs[0].training.parameters,
        "peak_memory_bytes": max(run.training.peak_memory_bytes for run in runs),
        "threads": runs[0].conditions.threads,
        "minor_page_faults": round(mean(run.conditions.minor_page_faults for run in runs)),
        "lock_wait_seconds": sum(run.conditions.lock_wait_seconds for run in runs),
        "limit": _limit(runs, typical.estimate),
        "gpu_joules_per_epoch": _joules_per_epoch(runs, "gpu_energy_joules"),
        "cpu_joules_per_epoch": _joules_per_epoch(runs, "cpu_energy_joules"),
    }


def _mean_where_known(runs: list[Record], part: str) -> float | None:
    """Return the mean seconds of a part of the runs, None where a record of an older version does not tell."""
    known = [getattr(run.timing, part) for run in runs if getattr(run.timing, part) is not None]
    return mean(known) if known else None


def _limit(runs: list[Record], seconds: float) -> dict | None:
    """Return a cell's floors in seconds and how many times them its epoch takes; None where no run was calibrated.

    A disturbed calibration shows too low a peak, never too high a one: the run with the highest peak speaks.
    """
    calibrated = [run.limit for run in runs if run.limit]
    if not calibrated:
        return None
    best = min(calibrated, key=lambda found: found.fused_floor_seconds)
    return asdict(best) | {
        "times_operator_floor": seconds / best.operator_floor_seconds,
        "times_fused_floor": seconds / best.fused_floor_seconds,
    }


def _joules_per_epoch(runs: list[Record], counter: str) -> float | None:
    """Return the mean energy of an epoch in joules, None where a run's counter is unknown."""
    joules = [getattr(run.conditions, counter) for run in runs]
    epochs = sum(len(run.timing.epoch_seconds) for run in runs)
    return None if None in joules else sum(joules) / epochs


def _against(base: list[Record], runs: list[Record], settings: Settings) -> Interval:
    """Return the speedup of a cell over another; over itself it is 1, and not in doubt."""
    if base is runs:
        return Interval(1.0, 1.0, 1.0)
    samples = [[run.timing.epoch_seconds for run in side] for side in (base, runs)]
    return speedup(*samples, settings.confidence)


def _comparable(record: Record, baseline: Record) -> bool:
    """Tell whether a ratio of two cells means anything: the same data and the same network."""
    return (record.dataset.fingerprint, record.cell.model) == (baseline.dataset.fingerprint, baseline.cell.model)


def _hardware(record: Record) -> str:
    return (
        record.machine.gpu.name if record.machine.gpu else f"{record.machine.cpu}, {record.machine.cores_usable} cores"
    )


def _flags(runs: list[Record], reference: Record) -> list[str]:
    """Return what a reader must know beside this cell's number."""
    rules = (
        (runs[0].dataset.synthetic, "synthetic data"),
        (len(runs) < 3, f"{len(runs)} run{'s' if len(runs) > 1 else ''} only"),
        (any(run.dataset.fingerprint != reference.dataset.fingerprint for run in runs), "other data than the baseline"),
        (runs[0].cell.model != reference.cell.model, "other network than the headline's"),
        (runs[0].cell.batch_size != reference.cell.batch_size, "other batch size than the baseline"),
    )
    return [flag for applies, flag in rules if applies]


def _judge_baseline(cells: list[dict], settings: Settings) -> list[dict]:
    """Add to the baseline's row how far it is behind the best CPU cell that does the same work."""
    base = next((row for row in cells if row["cell"] == settings.baseline), None)
    if base is None:
        return cells
    same_work = [row for row in cells if row["device"] == "cpu" and row["valid"] and _leads(row, base)]
    best = min((row["epoch_seconds"]["estimate"] for row in same_work), default=base["epoch_seconds"]["estimate"])
    finding = gates.fair_baseline(base["epoch_seconds"]["estimate"], best)
    base["gates"].append(asdict(finding))
    return cells


def _leads(row: dict, base: dict) -> bool:
    """Tell whether a cell does the baseline's work: the same data, network and batch size."""
    same = ("model", "batch_size")
    return row["speedup"] is not None and all(row["settings"][key] == base["settings"][key] for key in same)


def _machines(records: list[Record]) -> list[dict]:
    """Return every machine that a record names, once, without the one job's own facts."""
    machines = {}
    for record in records:
        key = record.machine.fingerprint, _hardware(record)
        if key not in machines:
            machines[key] = asdict(record.machine) | {"peaks": None}
            machines[key].pop("slurm_job")
        if record.peaks:
            machines[key]["peaks"] = _highest(machines[key]["peaks"], to_dict(record.peaks))
    return list(machines.values())


def _codes(records: list[Record]) -> list[dict]:
    """Return every version of the code that measured, and the protocols it followed, once."""
    known = {}
    for record in records:
        key = record.code.digest, record.code.commit
        if key not in known:
            known[key] = asdict(record.code) | asdict(record.protocol)
    return list(known.values())


def _highest(known: dict | None, peaks: dict) -> dict:
    """Return the higher of each peak; a disturbed or smaller calibration never lowers one."""
    if known is None:
        return peaks
    return {key: _highest(known.get(key) or {}, value) if isinstance(value, dict) else max(known.get(key, 0), value)
            for key, value in (known | peaks).items()}  # fmt: skip


def _headline(cells: list[dict], settings: Settings, by_cell: dict) -> dict | None:
    """Return the comparison to lead with: the fastest GPU cell, or the fastest CPU cell, against the baseline.

    Only cells with the baseline's data, network and batch size, and without a failed hard gate, can lead. `fair` is the
    same against the fastest CPU cell, where that is neither of the two.
    """
    base = next((row for row in cells if row["cell"] == settings.baseline and row["valid"]), None)
    known = [row for row in cells if base and row is not base and row["valid"] and _leads(row, base)]
    if not known:
        return None
    ranked = sorted(known, key=lambda row: row["epoch_seconds"]["estimate"])
    gpu = [row for row in ranked if row["device"] == "gpu"]
    best = (gpu or ranked)[0]
    cpu = [row for row in ranked if row["device"] == "cpu"]
    fair = cpu[0] if gpu and cpu else None
    headline = {"baseline": base["cell"], "best": best["cell"], "fair": None}
    headline["sentence"] = _sentence(base, best, Interval(**best["speedup"]))
    times = [[run.timing.epoch_seconds for run in by_cell[row["cell"]]] for row in (base, best)]
    headline["replay"] = replay(*times)
    if fair:
        ratio = _against(by_cell[fair["cell"]], by_cell[best["cell"]], settings)
        headline["fair"] = {"cell": fair["cell"], "speedup": asdict(ratio), "sentence": _sentence(fair, best, ratio)}
    return headline


def _sentence(slow: dict, fast: dict, ratio: Interval) -> str:
    times = [f"{row['cell']} {wording.interval_seconds(Interval(**row['epoch_seconds']))}" for row in (slow, fast)]
    return f"{', '.join(times)} an epoch: {wording.ratio_with_interval(ratio)}, {wording.less_time_percent(ratio)}."


def failures(summary: dict) -> list[str]:
    """Return a line for each hard gate that failed (the cell, the gate, what it found) and each broken own record."""
    broken = [f"{file['file']}: {file['reason']}" for file in summary["left_out"] if not file["imported"]]
    return broken + [
        f"{row['cell']}: {finding['gate']}: {finding['sentence']}"
        for row in summary["cells"]
        for finding in row["gates"]
        if finding["severity"] == gates.HARD and finding["passed"] is False
    ]


def answer(summary: dict) -> list[str]:
    """Return the answer in two lines: the headline, then the fair comparison and what else must be said."""
    headline = summary["headline"]
    first = headline["sentence"] if headline else "There are not two comparable cells yet, so there is no speedup."
    second = [f"Against the best CPU cell: {headline['fair']['sentence']}"] if headline and headline["fair"] else []
    wrong = [row["cell"] for row in summary["cells"] if not row["valid"]]
    warning = [f"Left out because a hard gate failed: {', '.join(wrong)}."] if wrong else []
    return [first, " ".join(second + warning + summary["notes"])]
