import dataclasses
import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from unit.examples import record, runs

from epochbench.errors import BenchmarkError
from epochbench.records.exchange import import_records, read_export, write_export
from epochbench.records.gates import untouched
from epochbench.timing.record import Dataset, seal

OURS = runs("cpu-reference", (2.0, 2.0, 2.02)) + runs("cpu-tuned", (1.0, 1.01, 1.0))


def export(path, records=OURS):
    write_export(records, path, "2026-01-01T00:00:00+00:00")
    return str(path)


def repack(path, change):
    """Write the zip again with `change(name, content)` giving each member's new content, None to drop it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            changed = change(name, content)
            if changed is not None:
                archive.writestr(name, changed)


def test_what_is_exported_is_read_again(tmp_path):
    records, left_out, *_ = read_export(export(tmp_path / "a.zip"))
    assert (records, left_out) == (OURS, [])


def test_the_same_records_give_the_same_file(tmp_path):
    first, second = export(tmp_path / "a.zip"), export(tmp_path / "b.zip")
    assert Path(first).read_bytes() == Path(second).read_bytes()


def test_nothing_to_export_is_said():
    with pytest.raises(BenchmarkError, match="no record"):
        write_export([], "x.zip", "now")


def test_imported_cells_have_names_of_their_own_and_right_checksums(tmp_path):
    imported, left_out, notes = import_records([export(tmp_path / "a.zip")], OURS)
    assert {run.cell.cell for run in imported} == {"cpu-reference@node1", "cpu-tuned@node1"}
    assert (left_out, notes) == ([], [])
    assert all(untouched(run)[0] for run in imported)


def test_other_data_and_other_code_are_noted(tmp_path):
    other = [
        dataclasses.replace(run, dataset=Dataset("x", False, "cd" * 32, 50_000, 10_000, [3, 32, 32], 10), checksum="")
        for run in runs("cpu-a", code=type(OURS[0].code)("beef", None))
    ]
    _, _, notes = import_records([export(tmp_path / "a.zip", list(map(seal, other)))], OURS)
    assert ["other data" in notes[0], "another version" in notes[1]] == [True, True]


def edited(name, content):
    if not name.endswith("run-1.json"):
        return content
    document = json.loads(content)
    document["timing"]["epoch_seconds"][0] = 0.1
    return json.dumps(document)


def with_manifest(change):
    """Change a record and promise its new checksum too, as a forger would."""
    changed = {}

    def both(name, content):
        if name == "manifest.json":
            manifest = json.loads(content)
            manifest["records"] |= changed
            return json.dumps(manifest)
        result = change(name, content)
        changed[name] = hashlib.sha256(result if isinstance(result, bytes) else result.encode()).hexdigest()
        return result

    return both


@pytest.mark.fault("hostile exports", "refused")
def test_an_edited_record_is_left_out_by_name_and_the_rest_goes_on(tmp_path):
    path = export(tmp_path / "a.zip")
    repack(path, edited)
    records, left_out, *_ = read_export(path)
    assert len(records) == len(OURS) - 2
    assert all("checksum is not the manifest's" in file.reason for file in left_out)
    assert "records/cpu-reference/run-1.json" in left_out[0].file


@pytest.mark.fault("hostile exports", "refused")
def test_a_forged_manifest_does_not_help(tmp_path):
    path = tmp_path / "a.zip"
    export(path)
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name != "manifest.json"] + ["manifest.json"]
        members = {name: archive.read(name) for name in names}
    forge = with_manifest(edited)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, forge(name, content))
    _, left_out, *_ = read_export(path)
    assert len(left_out) == 2
    assert "its own checksum is wrong" in left_out[0].reason


@pytest.mark.fault("hostile exports", "refused")
@pytest.mark.parametrize(
    "name", ["../evil.json", "/etc/passwd", "records/../../x/run-1.json", "records/a/run-0.json", "a.py"]
)
def test_foreign_names_are_left_out_and_nothing_is_written(tmp_path, name):
    path = tmp_path / "a.zip"
    export(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "{}")
    before = sorted(tmp_path.rglob("*"))
    records, (file,), *_ = read_export(path)
    assert records == OURS
    assert "not a name that a record has" in file.reason
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.fault("hostile exports", "refused")
def test_a_huge_member_is_left_out_in_bounded_memory(tmp_path):
    path = tmp_path / "a.zip"
    export(path)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records/big/run-1.json", b"[" + b"1," * 50_000_000 + b"1]")
    _, (file,), *_ = read_export(path)
    assert "larger than 4 MiB" in file.reason


@pytest.mark.fault("hostile exports", "refused")
def test_a_record_of_a_million_mistakes_is_left_out_before_they_are_listed(tmp_path):
    path = export(tmp_path / "a.zip")

    def wrong(name, content):
        return content if not name.endswith("run-1.json") else b'{"timing": [' + b'"x",' * 800_000 + b'"x"]}'

    with zipfile.ZipFile(path) as archive:
        members = {name: wrong(name, archive.read(name)) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    manifest["records"] = {name: hashlib.sha256(members[name]).hexdigest() for name in manifest["records"]}
    repack(path, lambda name, _: json.dumps(manifest) if name == "manifest.json" else members[name])
    _, left_out, *_ = read_export(path)
    assert {file.reason for file in left_out} == {"more than 100,000 values"}


@pytest.mark.fault("hostile exports", "refused")
def test_a_member_that_cannot_be_unpacked_is_left_out(tmp_path):
    path = Path(export(tmp_path / "a.zip"))
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("records/cpu-tuned/run-2.json").header_offset
    content = bytearray(path.read_bytes())
    content[start + 80 : start + 120] = b"\xff" * 40
    path.write_bytes(content)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("records/cpu-tuned/run-9.json", "{}")
    records, left_out, *_ = read_export(path)
    assert len(records) == len(OURS) - 1
    assert ["run-2.json" in left_out[0].file, left_out[1].reason] == [True, "packed by another method than deflate"]


@pytest.mark.fault("hostile exports", "refused")
@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut"])
def test_what_is_no_export_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(BenchmarkError, match="not readable as an export"):
        read_export(tmp_path / "a.zip")


@pytest.mark.fault("hostile exports", "refused")
@pytest.mark.parametrize("manifest", [None, "[]", "{}", '{"epochbench_export": 9, "records": {}}', "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(tmp_path, manifest):
    path = export(tmp_path / "a.zip")
    repack(path, lambda name, content: manifest if name == "manifest.json" else content)
    with pytest.raises(BenchmarkError, match=r"a\.zip: not readable as an export"):
        read_export(path)


@pytest.mark.fault("hostile exports", "refused")
def test_a_promised_record_that_is_missing_is_said(tmp_path):
    path = export(tmp_path / "a.zip")
    repack(path, lambda name, content: None if "cpu-tuned/run-2" in name else content)
    _, (file,), *_ = read_export(path)
    assert "not there" in file.reason


@pytest.mark.fault("hostile exports", "refused")
def test_a_broken_export_is_left_out_as_a_whole_and_the_others_are_read(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"no")
    imported, (file,), _ = import_records([str(tmp_path / "bad.zip"), export(tmp_path / "a.zip")], OURS)
    assert len(imported) == len(OURS)
    assert "bad.zip" in file.file


def test_two_machines_of_one_name_are_two_cells(tmp_path):
    twins = [replace(record(), machine=replace(record().machine, fingerprint=word * 4)) for word in ("aaaa", "bbbb")]
    for number, twin in enumerate(twins):
        write_export([seal(twin)], tmp_path / f"{number}.zip", "2026-01-01")
    imported, left_out, _ = import_records([str(tmp_path / f"{number}.zip") for number in (0, 1)], [])
    assert [one.cell.cell for one in imported] == ["cpu-reference@node1-aaaa", "cpu-reference@node1-bbbb"]
    assert left_out == []
