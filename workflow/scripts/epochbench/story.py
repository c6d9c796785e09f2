"""What the cells say together: the ladder to the best one, when a GPU pays, what an epoch costs."""

from dataclasses import asdict

from epochbench.record import Record, is_imported
from epochbench.statistics import speedup

SECONDS_PER_HOUR = 3600
ONE_OFF = ("start_seconds", "load_seconds", "first_step_seconds")


def ladders(cells: list[dict], by_cell: dict[str, list[Record]], confidence: float) -> list[dict]:
    """Return the rungs from each device's first cell to its last, as long as each changes one setting.

    A rung names what it changes, and by how much it is faster than the rung before (`factor`, an interval). Where both
    devices have a ladder, the GPU's begins with the step over from the last CPU rung.
    """
    rungs, last = [], None
    for device in ("cpu", "gpu"):
        chain = _chain([row for row in cells if row["device"] == device and _own(row)])
        if len(chain) < 2 and not (chain and last):
            continue
        for before, row in zip([last, *chain], chain, strict=False):
            rungs.append(_rung(before, row, by_cell, confidence))
        last = chain[-1]
    return rungs if len(rungs) > 1 else []


def _own(row: dict) -> bool:
    """Tell whether a cell was timed here and passed its hard gates."""
    return row["valid"] and not is_imported(row["cell"])


def _chain(rows: list[dict]) -> list[dict]:
    """Return the longest beginning of a sheet's rows in which each row differs from the one before in one setting."""
    chain = rows[:1]
    for row in rows[1:]:
        if len(_changes(chain[-1], row)) != 1:
            break
        chain.append(row)
    return chain


def _changes(before: dict, after: dict) -> list[str]:
    """Return what a cell sets otherwise than another, in words."""
    old, new = before["settings"], after["settings"]
    return [f"{key}: {_shown(old[key])} to {_shown(new[key])}" for key in new if old.get(key) != new[key]]


def _shown(value) -> str:
    return "all" if value is None else str(value)


def _rung(before: dict | None, row: dict, by_cell: dict, confidence: float) -> dict:
    factor = changed = None
    if before is not None:
        samples = [[run.timing.epoch_seconds for run in by_cell[side["cell"]]] for side in (before, row)]
        factor = asdict(speedup(*samples, confidence))
        across = before["device"] != row["device"]
        changed = "CPU to GPU" if across else _changes(before, row)[0]
    seconds = row["epoch_seconds"]["estimate"]
    return {"cell": row["cell"], "device": row["device"], "changed": changed, "seconds": seconds, "factor": factor}


def break_even(cells: list[dict], headline: dict | None) -> dict | None:
    """Return when the headline's GPU cell pays, against the best CPU cell where there is one, or else the baseline.

    `epochs`: how many it takes until starting, loading and the first step are repaid (0: they take no longer than on
    the CPU). `batches`: for each batch size that both devices were timed at, how many times faster the GPU is, and
    `batch_size`: the smallest from which on it is. None without a GPU in the headline.
    """
    rows = {row["cell"]: row for row in cells}
    if headline is None or rows[headline["best"]]["device"] != "gpu":
        return None
    gpu = rows[headline["best"]]
    cpu = rows[headline["fair"]["cell"] if headline["fair"] else headline["baseline"]]
    extra = sum(gpu[part] - cpu[part] for part in ONE_OFF)
    gain = cpu["epoch_seconds"]["estimate"] - gpu["epoch_seconds"]["estimate"]
    batches = _batches(cells)
    slower = [batch["batch_size"] for batch in batches if batch["times_faster"] <= 1]
    faster = [batch["batch_size"] for batch in batches if batch["batch_size"] > max(slower, default=0)]
    return {
        "cpu": cpu["cell"],
        "gpu": gpu["cell"],
        "extra_seconds": extra,
        "epochs": max(0.0, extra / gain) if gain > 0 else None,
        "batches": batches,
        "batch_size": min(faster, default=None) if batches else None,
    }


def _batches(cells: list[dict]) -> list[dict]:
    """Return for each batch size that both devices have the fastest cell of each, and their ratio."""
    fastest = {}
    for row in cells:
        if _own(row) and row["settings"]["model"] == cells[0]["settings"]["model"]:
            place = fastest.setdefault(row["settings"]["batch_size"], {})
            best = place.get(row["device"])
            if best is None or row["epoch_seconds"]["estimate"] < best["epoch_seconds"]["estimate"]:
                place[row["device"]] = row
    both = {size: place for size, place in sorted(fastest.items()) if len(place) == 2}
    if len(both) < 2:
        return []
    return [
        {
            "batch_size": size,
            "cpu": place["cpu"]["cell"],
            "gpu": place["gpu"]["cell"],
            "times_faster": place["cpu"]["epoch_seconds"]["estimate"] / place["gpu"]["epoch_seconds"]["estimate"],
        }
        for size, place in both.items()
    ]


def with_cost(row: dict, per_hour: dict[str, float]) -> dict:
    """Return the row with the price of an epoch, by its hardware's name, with or without its cores."""
    price = per_hour.get(row["hardware"]) or per_hour.get(row["hardware"].rsplit(",", 1)[0])
    cost = None if price is None else row["epoch_seconds"]["estimate"] / SECONDS_PER_HOUR * price
    return row | {"cost_per_epoch": cost}


def differences(machines: list[dict]) -> list[dict]:
    """Return the facts in which machines differ: the fact, and each machine's value by its node."""
    if len(machines) < 2:
        return []
    facts = [key for key in machines[0] if key not in ("fingerprint", "node", "peaks")]
    return [
        {"fact": fact, "values": [{"node": machine["node"], "value": machine[fact]} for machine in machines]}
        for fact in facts
        if any(machine[fact] != machines[0][fact] for machine in machines)
    ]
