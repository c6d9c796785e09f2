"""The rows that the page and the Markdown show: the summary's numbers in words."""

from epochbench import wording
from epochbench.statistics import Interval

UNKNOWN = "unknown"


def cell_rows(summary: dict) -> list[dict]:
    """Return one dictionary of texts per cell, fastest first; its keys are the column titles."""
    return [_cell_row(row) for row in _fastest_first(summary)]


def _fastest_first(summary: dict) -> list[dict]:
    return sorted(summary["cells"], key=lambda row: row["epoch_seconds"]["estimate"])


def _cell_row(row: dict) -> dict:
    is_base = row["cell"] == row["baseline"]
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
        "speedup": "baseline" if is_base else wording.ratio_with_interval(ratio) if ratio else "none",
        "verdict": "" if is_base else row["verdict"] or "",
        "accuracy": f"{row['test_accuracy'] * 100:.1f} %",
        "flags": "; ".join(row["flags"]),
    }


def _interval(typical: Interval) -> str:
    if typical.low is None:
        return "one run"
    return f"{wording.seconds(typical.low, 4)} {wording.MINUS} {wording.seconds(typical.high, 4)}"


def where_time_goes(summary: dict) -> list[dict]:
    """Return per cell the seconds of a run's parts, and of the whole run."""
    return [
        {
            "cell": row["cell"],
            "process start": wording.seconds(row["start_seconds"]),
            "load to device": wording.seconds(row["load_seconds"]),
            "first step": wording.seconds(row["first_step_seconds"]),
            "one epoch": wording.interval_seconds(Interval(**row["epoch_seconds"])),
            "evaluation": _known_seconds(row["evaluation_seconds"]),
            "checks": _known_seconds(row["check_seconds"]),
            "calibration": _known_seconds(row["calibration_seconds"]),
            "whole run": wording.seconds(row["wall_seconds"]),
            "peak memory": f"{wording.count(row['peak_memory_bytes'] / 2**20)} MiB",
            "page faults": wording.count(row["minor_page_faults"]),
        }
        for row in summary["cells"]
    ]


def _known_seconds(value: float | None) -> str:
    return UNKNOWN if value is None else wording.seconds(value)


def limit_rows(summary: dict) -> list[dict]:
    """Return per cell how far its epoch is from what the machine's measured peaks allow, fastest cell first."""
    return [_limit_row(row) for row in _fastest_first(summary)]


def _limit_row(row: dict) -> dict:
    named = {"cell": row["cell"], "one epoch": wording.interval_seconds(Interval(**row["epoch_seconds"]))}
    limit = row["limit"]
    if limit is None:
        return named | dict.fromkeys(
            ("floor, operator by operator", "times it", "floor, fused", "times that", "bound by"), UNKNOWN
        )
    return named | {
        "floor, operator by operator": wording.seconds(limit["operator_floor_seconds"]),
        "times it": f"{wording.significant(limit['times_operator_floor'], 2)}x",
        "floor, fused": wording.seconds(limit["fused_floor_seconds"]),
        "times that": f"{wording.significant(limit['times_fused_floor'], 2)}x",
        "bound by": limit["bound_by"],
    }


def _price(each: float | None, currency: str) -> str:
    return UNKNOWN if each is None else f"{wording.significant(each * 1000, 3)} {currency}"


def energy_rows(summary: dict) -> list[dict]:
    """Return per cell the energy of an epoch; a counter that nobody could read is said to be unknown."""
    return [
        {
            "cell": row["cell"],
            "GPU, an epoch": wording.joules(row["gpu_joules_per_epoch"]),
            "CPU packages, an epoch": wording.joules(row["cpu_joules_per_epoch"]),
            "price, 1000 epochs": _price(row["cost_per_epoch"], summary["settings"]["currency"]),
        }
        for row in summary["cells"]
    ]


def peak_rows(summary: dict) -> list[dict]:
    """Return per machine the peaks that calibration reached."""
    return [
        {
            "machine": f"{machine['node']}: {machine['gpu']['name'] if machine['gpu'] else machine['cpu']}",
            "matrix product": ", ".join(
                f"{kind} {wording.rate(value, 'FLOP/s')}"
                for kind, value in machine["peaks"]["matrix_flop_per_second"].items()
            ),
            "memory": wording.rate(machine["peaks"]["memory_bytes_per_second"], "B/s"),
            "launches": wording.rate(machine["peaks"]["launches_per_second"], "/s"),
        }
        for machine in summary["machines"]
        if machine["peaks"]
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


def difference_rows(summary: dict) -> list[dict]:
    """Return the facts in which the machines differ, a column for each machine."""
    return [
        {"fact": row["fact"].replace("_", " ")}
        | {f"{number}: {value['node']}": _fact(value["value"]) for number, value in enumerate(row["values"], 1)}
        for row in summary["differences"]
    ]


def _fact(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{_fact(part)}" for part in value.values())
    return UNKNOWN if value is None else str(value)


def break_even_sentences(summary: dict) -> list[str]:
    """Return when the GPU pays, in sentences; none where the sheet has no cells for it."""
    found = summary["break_even"]
    if found is None:
        return []
    pair = f"{found['gpu']} against {found['cpu']}"
    extra, epochs = found["extra_seconds"], found["epochs"]
    if epochs is None:
        said = [f"{pair}: the GPU's epoch is not shorter, so it never pays."]
    elif epochs == 0:
        said = [f"{pair}: starting, loading and the first step take no longer on the GPU: it pays at once."]
    else:
        said = [
            f"{pair}: starting, loading and the first step take {wording.seconds(extra)} longer on the GPU, which "
            f"{wording.significant(epochs, 2)} epochs repay."
        ]
    if found["batch_size"]:
        said.append(f"From batches of {wording.count(found['batch_size'])} images on, the fastest GPU cell is faster.")
    elif found["batches"]:
        said.append("At the largest batch size that both were timed at, the GPU is not faster.")
    return said


def batch_rows(summary: dict) -> list[dict]:
    """Return the GPU's speedup by batch size, where both devices were timed at several."""
    found = summary["break_even"]
    return [
        {
            "batch size": wording.count(batch["batch_size"]),
            "fastest CPU cell": batch["cpu"],
            "fastest GPU cell": batch["gpu"],
            "GPU faster by": f"{wording.significant(batch['times_faster'], 3)}x",
        }
        for batch in (found["batches"] if found else [])
    ]


def reference_rows(references: list[dict]) -> list[dict]:
    """Return the published results with their time for as many images as an epoch has here."""
    return [
        {
            "result": row["label"],
            "hardware": row["hardware"],
            "published": wording.seconds(row["seconds"]),
            "scaled": wording.seconds(row["scaled_seconds"]),
            "statistic": row["statistic"],
            "source": row["source"],
        }
        for row in references
    ]


def code_rows(summary: dict) -> list[dict]:
    """Return every version of the code that measured, and the protocol it followed."""
    return [
        {"digest": code["digest"], "commit": code["commit"] or UNKNOWN}
        | {key.replace("_", " "): str(value) for key, value in code.items() if key not in ("digest", "commit")}
        for code in summary["code"]
    ]


def commands(summary: dict) -> list[str]:
    """Return what to type to measure the same again."""
    commit = (summary["code"][0]["commit"] or "").removesuffix("+changes")
    data = summary["dataset"]
    source = " ARGS=\"--config dataset='{source: synthetic}'\"" if data["synthetic"] else ""
    return [
        "git clone <this repository> epochbench && cd epochbench",
        *([f"git checkout {commit}"] if commit else []),
        f"make run{source}",
        "make report    # this page again, from the records that exist",
    ]
