import dataclasses
import hashlib
import json
import os
from pathlib import Path

import pytest
from unit.examples import assert_described, record

from epochbench.errors import BenchmarkError
from epochbench.files import write_bytes
from epochbench.records.store import read_record, schema, write_record
from epochbench.timing.record import FirstEpoch, Record, checksum


def test_what_is_written_is_read_again(tmp_path):
    for cell in ("cpu-a", "gpu-a"):
        write_record(tmp_path / "run-1.json", record(cell))
        assert read_record(tmp_path / "run-1.json") == record(cell)


def test_the_schema_and_the_dataclasses_have_the_same_keys():
    assert_described(Record, schema())


def edit(document, key, value):
    place = document
    *parents, last = key.split(".")
    for parent in parents:
        place = place[parent]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value
    return document


@pytest.mark.fault("broken records", "refused")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("timing.epoch_seconds", [1.0, -2.0]),
        ("timing.epoch_seconds", [0.0]),
        ("timing.epoch_seconds", []),
        ("timing.epoch_seconds", [float("nan")]),
        ("timing.epoch_seconds", [1e300]),
        ("timing.event_seconds", [1.0]),
        ("timing.load_seconds", -1.0),
        ("timing.load_seconds", "1"),
        ("timing.load_seconds", KeyError),
        ("timing.extra", 1),
        ("schema_version", 0),
        ("schema_version", True),
        ("run", 0),
        ("dataset.fingerprint", "xyz"),
        ("training.test_accuracy", 1.5),
        ("machine.node", "x" * 1000),
    ],
)
def test_an_invalid_record_is_refused_with_its_key(tmp_path, key, value):
    path = tmp_path / "run-1.json"
    document = edit(json.loads(json.dumps(dataclasses.asdict(record()))), key, value)
    path.write_text(json.dumps(document))
    with pytest.raises(BenchmarkError, match="not a valid record|not readable as a record") as refusal:
        read_record(path)
    assert str(path) in str(refusal.value)
    assert value != value or key.split(".")[-1] in str(refusal.value) or "NaN" in str(refusal.value)


@pytest.mark.fault("broken records", "refused")
@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"run": NaN}'])
def test_what_is_no_record_is_refused(tmp_path, text):
    (tmp_path / "run-1.json").write_text(text)
    with pytest.raises(BenchmarkError, match=r"run-1\.json"):
        read_record(tmp_path / "run-1.json")


@pytest.mark.fault("broken records", "survived")
def test_a_failing_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_bytes(path, b"old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.fault("permissions", "survived")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_have_the_users_own_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"content")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


def version_1(made):
    """The same record as version 1 wrote it."""
    document = json.loads(json.dumps(dataclasses.asdict(made)))
    peak = document.pop("peaks")["matrix_flop_per_second"]["fp32"]
    document["evidence"] |= {"flop_per_epoch": document.pop("limit")["flop_per_epoch"], "peak_flop_per_second": peak}
    for part, names in {
        "cell": ("layers", "autotune", "gpu_model", "constraint"),
        "machine": ("threads_per_core",),
        "conditions": ("gpu_energy_joules", "cpu_energy_joules", "flags"),
    }.items():
        for name in names:
            del document[part][name]
    for name in ("image_shape", "classes"):
        del document["dataset"][name]
    del document["evidence"]["between_seconds"]
    document["schema_version"] = 1
    measured = {key: value for key, value in document.items() if key not in ("checksum", "gates")}
    document["checksum"] = hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()
    return document


@pytest.mark.fault("broken records", "survived")
def test_an_older_record_is_read_and_what_it_did_not_measure_is_unknown(tmp_path):
    path = tmp_path / "run-1.json"
    path.write_text(json.dumps(version_1(record())))
    found = read_record(path)
    assert (found.peaks, found.limit, found.conditions.gpu_energy_joules) == (None, None, None)
    untimed = {"evaluation_seconds": None, "check_seconds": None, "calibration_seconds": None}
    assert found.timing == dataclasses.replace(record().timing, **untimed)
    assert found.checksum == checksum(found)


@pytest.mark.fault("broken records", "survived")
def test_a_record_of_version_2_from_an_h100_is_read_whole():
    path = Path(__file__).parent / "records" / "h100-gpu-best.json"
    written, found = json.loads(path.read_text()), read_record(path)
    assert written["schema_version"] == 2
    assert found.checksum == checksum(found)
    assert found.limit.operator_estimate_seconds == written["limit"]["operator_floor_seconds"]
    assert found.limit.fused_bound_seconds == written["limit"]["fused_floor_seconds"]
    assert (found.training.learning_rate, found.protocol.rate_scaling) == (0.01, "none")
    assert (found.protocol.optimizer, found.protocol.weight_decay, found.until_accuracy) == ("sgd", 0, None)
    assert (found.evidence.first_steps, found.evidence.train_loss, found.conditions.gpu_watch) == ([], None, None)
    assert (found.cell.framework, found.evidence.first_epoch, found.evidence.late_seconds) == ("torch", None, None)


@pytest.mark.fault("broken records", "survived")
def test_a_record_of_version_6_does_not_say_what_of_its_last_steps_there_was(tmp_path):
    path, made = tmp_path / "run-1.json", record()
    epoch = FirstEpoch(50, 50, 1e-5, 6e-4, 1e-6, 5e-4, late_shares=[0.9, 1.0], expected_late_deviations=[0.01, 0.01])
    made = dataclasses.replace(made, evidence=dataclasses.replace(made.evidence, first_epoch=epoch))
    document = json.loads(json.dumps(dataclasses.asdict(made))) | {"schema_version": 6}
    for name in ("late_shares", "expected_late_deviations", "compared_losses"):
        del document["evidence"]["first_epoch"][name]
    path.write_text(json.dumps(document))
    unknown = dataclasses.replace(epoch, late_shares=[], expected_late_deviations=[])
    assert read_record(path).evidence.first_epoch == unknown


@pytest.mark.fault("broken records", "refused")
def test_an_older_record_edited_by_hand_stays_wrong(tmp_path):
    path = tmp_path / "run-1.json"
    path.write_text(json.dumps(edit(version_1(record()), "timing.load_seconds", 0.001)))
    found = read_record(path)
    assert found.checksum != checksum(found)


@pytest.mark.fault("broken records", "refused")
def test_a_newer_record_says_so(tmp_path):
    path = tmp_path / "run-1.json"
    path.write_text(json.dumps(dataclasses.asdict(record()) | {"schema_version": 99}))
    with pytest.raises(BenchmarkError, match=r"schema_version 99 is newer .*; update epochbench"):
        read_record(path)


@pytest.mark.fault("broken records", "refused")
def test_a_record_with_a_column_that_came_later_says_so(tmp_path):
    path = tmp_path / "run-1.json"
    path.write_text(json.dumps(edit(dataclasses.asdict(record()), "cell.fused", "yes")))
    with pytest.raises(
        BenchmarkError, match=r"run-1\.json: made by a version that has column 'fused'; update epochbench"
    ):
        read_record(path)
