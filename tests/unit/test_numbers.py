"""Whatever number stands in a record, it is refused by name, or the whole page is drawn with it."""

import dataclasses
import json
from dataclasses import replace

import pytest
from support import REPOSITORY
from unit.examples import H200, record

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError
from epochbench.records.store import read_record, write_record
from epochbench.report.report import Places, report
from epochbench.timing.record import GpuState

HUGE = "1" + "0" * 400


def with_every_number() -> dict:
    """Return a record as a document in which everything that may be a number is one."""
    made, state = record("cpu-reference", micro_batch=100, threads=8), GpuState(1980, 2619, 40, 700.0, [], 0)
    machine = replace(made.machine, gpu=H200, sockets=1, physical_cores=8, threads_per_core=1, numa_nodes=1)
    energy = {"gpu_energy_joules": 9.0, "cpu_energy_joules": 9.0}
    conditions = replace(made.conditions, gpu_before=state, gpu_after=state, **energy)
    timing = replace(made.timing, event_seconds=made.timing.epoch_seconds)
    whole = replace(made, conditions=conditions, machine=machine, timing=timing)
    return json.loads(json.dumps(dataclasses.asdict(whole)))


def numbers(value, place=()):
    """Yield the place of every number in a document."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from numbers(part, (*place, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield place


def mutants(value):
    """Yield, for every number of a record in turn, its place and the record's text with another number there."""
    for *parents, last in numbers(with_every_number()):
        document = part = with_every_number()
        for key in parents:
            part = part[key]
        part[last] = "HERE"
        yield [*parents, last], json.dumps(document).replace('"HERE"', value)


def refusal(path) -> str | None:
    """Return what is said where a record is refused, None where it is read."""
    try:
        read_record(path)
    except BenchmarkError as error:
        return str(error)
    return None


def names(said, path, place) -> bool:
    """Tell whether a refusal names the file and, unless its text is no JSON at all, the key."""
    key = next(part for part in reversed(place) if isinstance(part, str))
    return str(path) in said and (key in said or "not readable as a record" in said)


@pytest.mark.fault("broken records", "survived")
@pytest.mark.parametrize(
    "value", ["Infinity", "1e999", HUGE, "1e-320", "-1", "-1e-320", "0", "1e300"], ids=lambda value: value[:6]
)
def test_whatever_number_a_record_holds_it_is_refused_by_name_or_drawn(tmp_path, value):
    others = [record("gpu-a"), record("cpu-a")]
    drawn = [str(tmp_path / f"other-{number}.json") for number in range(len(others))]
    for path, other in zip(drawn, others, strict=True):
        write_record(path, other)
    for number, (place, text) in enumerate(mutants(value)):
        path = tmp_path / f"run-{number}.json"
        path.write_text(text)
        if said := refusal(path):
            assert names(said, path, place)
            continue
        mutant = read_record(path)
        # As the baseline, which every ratio is over, a number does the most harm; one page then shows them all.
        aggregate([mutant, *others], Settings(), [])
        write_record(path, replace(mutant, cell=replace(mutant.cell, cell=f"cpu-{number}")))
        drawn.append(str(path))
    places = (str(tmp_path / name) for name in ("tables", "report", "samples.png"))
    report(Places(drawn, [], str(REPOSITORY / "config" / "published.tsv"), *places), Settings(), [])
    assert (tmp_path / "report" / "index.html").exists()
