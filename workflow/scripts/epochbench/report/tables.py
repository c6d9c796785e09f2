"""The rows that the page and the Markdown show: the summary's numbers in words."""

from epochbench import wording
from epochbench.statistics import Interval


def cell_rows(summary: dict) -> list[dict]:
    """Return one dictionary of texts per cell, fastest first; its keys are the column titles."""
    cells = sorted(summary["cells"], key=lambda row: row["epoch_seconds"]["estimate"])
    return [_cell_row(row, summary["settings"]["baseline"]) for row in cells]


def _cell_row(row: dict, baseline: str) -> dict:
    typical = Interval(**row["epoch_seconds"])
    ratio = Interval(**row["speedup"]) if row["speedup"] else None
    return {
        "cell": row["cell"],
        "device": row["device"].upper(),
        "epoch": wording.interval_seconds(typical),
        "interval": _interval(typical),
        "minimum": wording.seconds(row["minimum_seconds"]),
        "epochs": f"{row['epochs']} in {row['runs']} runs",
        "images/s": wording.count(row["images_per_second"]),
        "speedup": "baseline" if row["cell"] == baseline else wording.ratio_with_interval(ratio) if ratio else "none",
        "verdict": "" if row["cell"] == baseline else row["verdict"] or "",
        "accuracy": f"{row['test_accuracy'] * 100:.1f} %",
        "flags": "; ".join(row["flags"]),
    }


def _interval(typical: Interval) -> str:
    if typical.low is None:
        return "one run"
    return f"{wording.seconds(typical.low, 4)} {wording.MINUS} {wording.seconds(typical.high, 4)}"


def where_time_goes(summary: dict) -> list[dict]:
    """Return per cell the seconds of a run's parts: start, load, first step, one epoch, and the whole run."""
    return [
        {
            "cell": row["cell"],
            "process start": wording.seconds(row["start_seconds"]),
            "load to device": wording.seconds(row["load_seconds"]),
            "first step": wording.seconds(row["first_step_seconds"]),
            "one epoch": wording.interval_seconds(Interval(**row["epoch_seconds"])),
            "whole run": wording.seconds(row["wall_seconds"]),
            "peak memory": f"{wording.count(row['peak_memory_bytes'] / 2**20)} MiB",
            "page faults": wording.count(row["minor_page_faults"]),
        }
        for row in summary["cells"]
    ]


def cell_settings(summary: dict) -> list[dict]:
    """Return per cell what it sets, by the sheet's own column names."""
    return [
        {"cell": row["cell"], "device": row["device"]}
        | {
            key: str("all" if key == "threads" and value is None else "" if value is None else value)
            for key, value in row["settings"].items()
        }
        for row in summary["cells"]
    ]


def machine_rows(summary: dict) -> list[dict]:
    """Return what each machine is, in words."""
    return [
        {
            "node": machine["node"],
            "CPU": machine["cpu"],
            "cores usable": str(machine["cores_usable"]),
            "memory": f"{machine['memory_bytes'] / 2**30:.0f} GiB",
            "GPU": machine["gpu"]["name"] if machine["gpu"] else "none used",
            "driver": (machine["gpu"] or {}).get("driver") or "",
            "system": machine["system"],
            "Python": machine["python"],
            "torch": machine["torch"],
            "CUDA": machine["cuda"] or "none",
        }
        for machine in summary["machines"]
    ]


MARKS = {True: "passed", False: "FAILED", None: "not judged"}


def gate_rows(summary: dict) -> list[dict]:
    """Return every gate of every cell with what it found, the failed ones first."""
    rows = [
        {
            "cell": row["cell"],
            "gate": finding["gate"],
            "severity": finding["severity"],
            "result": MARKS[finding["passed"]],
            "found": finding["sentence"],
        }
        for row in summary["cells"]
        for finding in row["gates"]
    ]
    return sorted(rows, key=lambda row: row["result"] != MARKS[False])


def replay_rows(summary: dict) -> list[dict]:
    """Return the headline's speedup as each estimator would have it."""
    scored = (summary["headline"] or {}).get("replay", {})
    return [{"estimator": name, "speedup": f"{wording.significant(value, 4)}x"} for name, value in scored.items()]
