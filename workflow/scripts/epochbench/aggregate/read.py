"""All the records that there are: this machine's, and those of exports."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from epochbench.errors import BenchmarkError, in_one_line
from epochbench.records.exchange import Quarantined, import_records
from epochbench.records.store import read_record
from epochbench.timing.record import Record


def read_records(
    paths: Iterable[str | Path], imports: Sequence[str] = ()
) -> tuple[list[Record], list[Quarantined], list[str]]:
    """Read records in the order of the paths, then exports; return what was left out, and notes on differences."""
    records, left_out = [], []
    for path in paths:
        try:
            records.append(read_record(path))
        except BenchmarkError as error:
            left_out.append(Quarantined(str(path), in_one_line(error)))
    imported, wrong, notes = import_records(imports, records)
    return records + imported, left_out + wrong, notes
