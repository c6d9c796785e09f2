"""The tables with a row for each cell: the summary's numbers in words."""

from epochbench import wording
from epochbench.aggregate.framework_names import name_of
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.records import gates
from epochbench.report.groups import has_several_frameworks
from epochbench.timing.cell import COLUMNS, REQUIRED

UNKNOWN = "unknown"
MARKS = {True: "passed", False: "FAILED", None: "not judged"}
LIMIT_COLUMNS = ("estimate, operator by operator", "times it", "bound, fused", "times that", "bound by")


def fastest_first(summary: Summary) -> list[CellSummary]:
    """Return the cells by their typical epoch."""
    return sorted(summary.cells, key=lambda row: row.epoch_seconds.estimate)


def cell_rows(summary: Summary) -> list[dict[str, str]]:
    """Return one dictionary of texts per cell, fastest first; its keys are the column titles.

    A cell's framework is one of them where there are several.
    """
    several = has_several_frameworks(summary)
    return [_cell_row(row, several) for row in fastest_first(summary)]


def _cell_row(row: CellSummary, several_frameworks: bool) -> dict[str, str]:
    is_base = row.cell == row.baseline
    ratio = wording.ratio_with_interval(row.speedup) if row.speedup else "none"
    return {
        "cell": row.cell,
        "device": row.device.upper(),
        **({"framework": name_of(row.settings.framework)} if several_frameworks else {}),
        "epoch": wording.interval_seconds(row.epoch_seconds),
        "interval": wording.interval_of_seconds(row.epoch_seconds),
        "minimum": wording.seconds(row.minimum_seconds),
        "epochs": f"{row.epochs} in {row.runs} runs",
        "images/s": wording.significant(row.images_per_second, wording.digits_supported(row.epoch_seconds)),
        "speedup": "baseline" if is_base else ratio,
        "verdict": "" if is_base else row.verdict or "",
        "accuracy": f"{row.test_accuracy * 100:.1f} %",
        "flags": "; ".join(row.flags),
    }


def settings_rows(summary: Summary) -> list[dict[str, str]]:
    """Return per cell what it sets, by the sheet's own column names."""
    return [
        {"cell": row.cell, "device": row.device}
        | {name: _setting(name, getattr(row.settings, name)) for name in COLUMNS if name not in REQUIRED}
        for row in summary.cells
    ]


def _setting(name: str, value: object) -> str:
    return COLUMNS[name].empty if value is None else str(value)


def time_rows(summary: Summary) -> list[dict[str, str]]:
    """Return per cell the seconds of a run's parts, and of the whole run."""
    return [
        {
            "cell": row.cell,
            "process start": wording.seconds(row.start_seconds),
            "load to device": wording.seconds(row.load_seconds),
            "first step": wording.seconds(row.first_step_seconds),
            "one epoch": wording.interval_seconds(row.epoch_seconds),
            "evaluation": _known_seconds(row.evaluation_seconds),
            "checks": _known_seconds(row.check_seconds),
            "calibration": _known_seconds(row.calibration_seconds),
            "whole run": wording.seconds(row.wall_seconds),
            "peak memory": f"{wording.count(row.peak_memory_bytes / 2**20)} MiB",
            "page faults": wording.count(row.minor_page_faults),
        }
        for row in summary.cells
    ]


def _known_seconds(value: float | None) -> str:
    return UNKNOWN if value is None else wording.seconds(value)


def try_rows(summary: Summary) -> list[dict]:
    """Return every timing that was disturbed, with what the machine did meanwhile and whether it counts."""
    return [
        {
            "cell": row.cell,
            "run": str(one.run),
            "try": str(one.number),
            "one epoch": wording.seconds(one.median_seconds),
            "waited for quiet": wording.seconds(one.waited_seconds) if one.waited_seconds >= 1 else "",
            "disturbed by": "; ".join(one.disturbed_by),
            "counts": "yes" if one.counts else "no",
        }
        for row in summary.cells
        for one in row.tries
        if one.disturbed_by
    ]


def limit_rows(summary: Summary) -> list[dict[str, str]]:
    """Return per cell how far its epoch is from what its machine's highest measured peaks allow, fastest cell first."""
    return [
        {"cell": row.cell, "one epoch": wording.interval_seconds(row.epoch_seconds)}
        | dict(zip(LIMIT_COLUMNS, _limit_texts(row), strict=True))
        for row in fastest_first(summary)
    ]


def _limit_texts(row: CellSummary) -> list[str]:
    limit = row.limit
    if limit is None:
        return [UNKNOWN] * len(LIMIT_COLUMNS)
    return [
        wording.seconds(limit.operator_estimate_seconds),
        f"{wording.significant(limit.times_operator_estimate, 2)}x",
        wording.seconds(limit.fused_bound_seconds),
        f"{wording.significant(limit.times_fused_bound, 2)}x",
        limit.bound_by,
    ]


def energy_rows(summary: Summary) -> list[dict[str, str]]:
    """Return per cell the energy of an epoch and its price; a counter that nobody could read is said to be unknown."""
    return [
        {
            "cell": row.cell,
            "GPU, an epoch": wording.joules(row.gpu_joules_per_epoch),
            "CPU packages, an epoch": wording.joules(row.cpu_joules_per_epoch),
            "price, 1000 epochs": _price(row.cost_per_epoch, summary.settings.currency),
        }
        for row in summary.cells
    ]


def _price(each: float | None, currency: str) -> str:
    return UNKNOWN if each is None else f"{wording.significant(each * 1000, 3)} {currency}"


def gate_rows(summary: Summary) -> list[dict[str, str]]:
    """Return every gate's finding on every cell, the failed ones first."""
    rows = [
        {
            "cell": row.cell,
            "gate": finding.gate,
            "severity": finding.severity,
            "result": MARKS[finding.passed],
            "finding": finding.sentence,
        }
        for row in summary.cells
        for finding in row.gates
    ]
    return sorted(rows, key=lambda row: row["result"] != MARKS[False])


def failed_gate_rows(summary: Summary) -> list[dict[str, str]]:
    """Return the findings of the gates that failed."""
    return [row for row in gate_rows(summary) if row["result"] == MARKS[False]]


def gates_in_words(summary: Summary) -> str:
    """Return in a sentence how many findings there are, and how many of them failed."""
    findings = [finding for row in summary.cells for finding in row.gates]
    failed = [finding.severity for finding in findings if finding.passed is False]
    hard = failed.count(gates.HARD)
    judged = f"{wording.count(len(findings))} findings on {len(summary.cells)} cells"
    if not failed:
        return f"Here: {judged}, none failed."
    return f"Here: {judged}, of which {hard} hard and {len(failed) - hard} soft ones failed."
