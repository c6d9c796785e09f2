"""Tables, figures and page from the records that exist, in one go: for the target `report`, and after a failed run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.plan import read_plan
from epochbench.aggregate.read import read_records
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import Missing, Summary
from epochbench.aggregate.tables import write_tables
from epochbench.report.draw import draw_page
from epochbench.sheets import read_published


@dataclass(frozen=True)
class Places:
    """What is read, and where tables and report go."""

    records: list[str]
    imports: list[str]
    published: str
    tables: str = "results/aggregate"
    report: str = "results/report"
    samples: str = "results/shard/samples.png"
    plan: str = "results/aggregate/more_runs.json"


def report(places: Places, settings: Settings, notes: list[str], failed: Sequence[Missing] = ()) -> Summary:
    """Aggregate the records, write tables, figures and page, and return the summary."""
    records, left_out, differences = read_records(places.records, places.imports)
    summary = aggregate(records, settings, [*notes, *differences], left_out, failed, read_plan(places.plan))
    write_tables(places.tables, records, summary)
    epochs = pd.read_csv(Path(places.tables) / "epochs.csv")
    draw_page(summary, epochs, read_published(places.published), places.report, places.samples)
    return summary
