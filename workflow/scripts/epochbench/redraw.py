"""Tables, figure and page from the records that exist, in one go: for the target `report`, and after a failed run."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from epochbench.aggregate import Missing, Settings, aggregate, answer, read_records, write_tables
from epochbench.config import read_published
from epochbench.report import draw_report

LAST_WORDS = 500


@dataclass(frozen=True)
class Places:
    """What is read, and where tables and report go."""

    records: list[str]
    imports: list[str]
    published: str
    tables: str = "results/aggregate"
    report: str = "results/report"
    samples: str = "results/shard/samples.png"


def redraw(places: Places, settings: Settings, notes: list[str], failed: list[Missing] = ()) -> list[str]:
    """Write tables, figure and page, and return the answer's lines."""
    records, left_out, differences = read_records(places.records, places.imports)
    summary = aggregate(records, settings, [*notes, *differences], left_out, failed)
    write_tables(places.tables, records, summary)
    epochs = pd.read_csv(Path(places.tables) / "epochs.csv")
    draw_report(summary, epochs, read_published(places.published), places.report, places.samples)
    return answer(summary)


def last_words(log) -> str:
    """Return how a run's log ends: its plain error, or its last line."""
    try:
        lines = [line.strip() for line in Path(log).read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return "it wrote no log"
    errors = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    text = " ".join(lines[errors[-1] :]).removeprefix("error: ") if errors else (lines or ["its log is empty"])[-1]
    return text[:LAST_WORDS]
