"""The tables for other programs: epochs.csv and summary.csv."""

from pathlib import Path

import pandas as pd

from epochbench.aggregate.store import write_summary
from epochbench.aggregate.summary import CellSummary, Summary
from epochbench.documents import to_dict
from epochbench.files import write_text
from epochbench.timing.cell import COLUMNS, REQUIRED
from epochbench.timing.record import Record
from epochbench.unseen import visible


def write_tables(folder: str | Path, records: list[Record], summary: Summary) -> None:
    """Write epochs.csv (a row per timed epoch), summary.csv (a row per cell) and summary.json."""
    folder = Path(folder)
    write_text(folder / "epochs.csv", epoch_table(records).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "summary.csv", summary_table(summary).to_csv(index=False, lineterminator="\n"))
    write_summary(folder / "summary.json", summary)


def epoch_table(records: list[Record]) -> pd.DataFrame:
    """Return the tidy table of every timed epoch, `epoch_seconds` by the wall and `event_seconds` by the device."""
    return pd.DataFrame([row for record in records for row in _epochs(record)])


def _epochs(record: Record) -> list[dict]:
    times = record.timing
    events = times.event_seconds or [None] * len(times.epoch_seconds)
    return [
        {
            "cell": record.cell.cell,
            "device": record.cell.device,
            "run": record.run,
            "epoch": number,
            "epoch_seconds": wall,
            "event_seconds": event,
            "dataset": visible(record.dataset.name),
            "synthetic": record.dataset.synthetic,
            "node": visible(record.machine.node),
        }
        for number, (wall, event) in enumerate(zip(times.epoch_seconds, events, strict=True), start=1)
    ]


def summary_table(summary: Summary) -> pd.DataFrame:
    """Return a row per cell: nested values get a name with underscores, lists become text."""
    table = pd.json_normalize([_flat(row) for row in summary.cells], sep="_")
    return table.rename(columns={f"settings_{name}": name for name in COLUMNS})


def _flat(row: CellSummary) -> dict:
    columns = to_dict(row)
    del columns["gates"]
    # The name and the device stand in columns of their own.
    columns["settings"] = {name: value for name, value in columns["settings"].items() if name not in REQUIRED}
    return columns | {"flags": "; ".join(row.flags)}
