"""Results that travel: export records with a manifest, import those of other machines, compare two sets of them.

An export comes from a stranger: nothing in it is executed, nothing is unpacked to the disk, sizes are bounded, and
every record is validated by itself. What is wrong is left out by name, with its reason, and the rest goes on.
"""

import hashlib
import io
import json
import re
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from epochbench.documents import to_dict
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.files import to_json, write_bytes
from epochbench.records.store import MAX_RECORD_BYTES, parse_json, to_record
from epochbench.timing.cell import is_imported
from epochbench.timing.record import Record, checksum, seal
from epochbench.unseen import visible

EXPORT_VERSION = 1
MANIFEST = "manifest.json"
RECORD_NAME = re.compile(r"records/[a-z0-9@._-]{1,200}/run-[1-9][0-9]{0,4}\.json")
# A run of a thousand epochs, each tried three times, has ten thousand. Each wrong one would be a mistake to be listed.
MAX_VALUES = 100_000
# The same zip from the same records, whenever it is made.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Limits:
    """How much of an export is read; after so many `wrong` files, which are no valid records, the rest is not."""

    file_bytes: int = 512 * 2**20
    unpacked_bytes: int = 512 * 2**20
    members: int = 20_000
    wrong: int = 20_000


NO_MORE = Limits()


@dataclass(frozen=True)
class Quarantined:
    """A file that was left out, and why; what others sent is no failure of this run."""

    file: str
    reason: str
    imported: bool = False


def write_export(records: list[Record], path: str | Path, created_at: str) -> None:
    """Write records and their manifest as a zip: whole or not at all.

    Raises BenchmarkError where there is nothing to export.
    """
    if not records:
        raise BenchmarkError("there is no record under results/train yet; run `snakemake --cores all` first")
    members = {
        f"records/{record.cell.cell}/run-{record.run}.json": to_json(to_dict(record)).encode() for record in records
    }
    manifest = {
        "epochbench_export": EXPORT_VERSION,
        "created_at": created_at,
        "nodes": sorted({record.machine.node for record in records}),
        "records": {name: hashlib.sha256(content).hexdigest() for name, content in members.items()},
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {MANIFEST: to_json(manifest).encode(), **members}.items():
            archive.writestr(zipfile.ZipInfo(name, ZIP_EPOCH), content, zipfile.ZIP_DEFLATED)
    write_bytes(path, packed.getvalue())


class Export(NamedTuple):
    """What an export holds: its valid records, what was left out, and when it was made as its manifest says.

    `checksums` has each record's own as it was written: a later version of this code reads a record into another form.
    """

    records: list[Record]
    left_out: list[Quarantined]
    created_at: str
    checksums: list[str]


def read_export(path: str | Path, limits: Limits = NO_MORE) -> Export:
    """Read an export and leave out, by name and with the reason, whatever in it is no valid record.

    Raises BenchmarkError where the file as a whole is no export, or holds more than the limits allow.
    """
    try:
        # Before it is opened: the list of a zip's files is read whole, and may name millions.
        _refuse_more(Path(path).stat().st_size, limits.file_bytes, "bytes")
        with zipfile.ZipFile(path) as archive:
            return _read_members(path, archive, limits)
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, zlib.error) as error:
        raise BenchmarkError(f"{path}: not readable as an export ({error}); make it with `make export`") from error


def _refuse_more(value: int, most: int, unit: str) -> None:
    if value > most:
        raise ValueError(f"it has {value:,} {unit}, more than the {most:,} that are read")


def _read_members(path, archive: zipfile.ZipFile, limits: Limits) -> Export:
    members = archive.infolist()
    _refuse_more(len(members), limits.members, "files")
    _refuse_more(sum(member.file_size for member in members), limits.unpacked_bytes, "bytes unpacked")
    manifest = _manifest(archive)
    promised = manifest["records"]
    records, left_out, checksums, seen = [], [], [], set()
    for member in members:
        # Whoever packs the files anew has entries of folders too.
        if member.filename == MANIFEST or (member.is_dir() and not member.file_size):
            continue
        if len(left_out) >= limits.wrong:
            break
        try:
            record, written = _read_member(archive, member, promised, seen)
        except (BenchmarkError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            left_out.append(_wrong(f"{path}: {member.filename[:200]}", in_one_line(error)))
        else:
            records.append(record)
            checksums.append(written)
    missing = sorted(set(promised) - {member.filename for member in members})
    left_out += [_wrong(f"{path}: {name[:200]}", "its manifest names it, but it is not there") for name in missing]
    return Export(records, left_out, str(manifest.get("created_at", ""))[:32], checksums)


def _wrong(file: str, reason: str) -> Quarantined:
    return Quarantined(file, reason, imported=True)


def _manifest(archive: zipfile.ZipFile) -> dict:
    """Return the manifest: `records` has the checksums by name."""
    try:
        content = _bounded(archive, archive.getinfo(MANIFEST))
        manifest = json.loads(content)
        promised = manifest["records"]
        version = manifest["epochbench_export"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("it has no manifest of an export") from error
    if version != EXPORT_VERSION:
        raise ValueError(f"its manifest has version {str(version)[:20]}, this code reads {EXPORT_VERSION}")
    if not isinstance(promised, dict) or not all(isinstance(value, str) for value in promised.values()):
        raise ValueError("its manifest does not name records and checksums")
    return manifest


def _bounded(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Read a member, however large it says or turns out to be, in bounded memory."""
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError("packed by another method than deflate")
    with archive.open(member) as stream:
        content = stream.read(MAX_RECORD_BYTES + 1)
    if len(content) > MAX_RECORD_BYTES:
        raise ValueError(f"larger than {MAX_RECORD_BYTES // 2**20} MiB")
    return content


def _read_member(archive, member, promised, seen) -> tuple[Record, str]:
    """Return a record, and its checksum as it was written."""
    if not RECORD_NAME.fullmatch(member.filename):
        raise ValueError("not a name that a record has in an export")
    if member.filename in seen:
        raise ValueError("occurs twice")
    seen.add(member.filename)
    content = _bounded(archive, member)
    if hashlib.sha256(content).hexdigest() != promised.get(member.filename):
        raise ValueError("its checksum is not the manifest's")
    if content.count(b",") > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES:,} values")
    document = parse_json(content, member.filename)
    record = to_record(document, member.filename)
    if checksum(record) != record.checksum:
        raise ValueError("its own checksum is wrong: it was changed after the run")
    return record, document["checksum"]


def import_records(paths: list[str], own: list[Record]) -> tuple[list[Record], list[Quarantined], list[str]]:
    """Read exports for the tables: records under names of their own, what was left out, and notes on differences.

    A cell of another machine is another cell: `gpu-best` of node7 becomes `gpu-best@node7`.
    """
    exports, left_out, notes = [], [], []
    for path in paths:
        try:
            exports.append((path, read_export(path)))
        except BenchmarkError as error:
            left_out.append(_wrong(str(path), in_one_line(error)))
    machines = _machines_of_nodes([record for _, export in exports for record in export.records])
    imported, taken = [], {(record.cell.cell, record.run) for record in own}
    for path, export in exports:
        left_out += export.left_out
        for record in (_renamed(record, machines) for record in export.records):
            if (record.cell.cell, record.run) in taken:
                left_out.append(_wrong(f"{path}: {record.cell.cell} run {record.run}", "occurs in two exports"))
                continue
            taken.add((record.cell.cell, record.run))
            imported.append(record)
        notes += _differences(path, export.records, own)
    return imported, left_out, notes


Machines = dict[tuple[str, str], set[str]]


def _machines_of_nodes(records: list[Record]) -> Machines:
    """Return the fingerprints behind each host name and device: two machines may share a name."""
    machines: Machines = {}
    for record in records:
        machines.setdefault((record.machine.node, record.cell.device), set()).add(record.machine.fingerprint)
    return machines


def _renamed(record: Record, machines: Machines) -> Record:
    cell = visible(record.cell.cell)
    if is_imported(cell):
        return seal(replace(record, cell=replace(record.cell, cell=cell)))
    node = re.sub(r"[^a-z0-9.-]+", "-", record.machine.node.lower()).strip("-")[:60] or "elsewhere"
    if len(machines[record.machine.node, record.cell.device]) > 1:
        node += f"-{record.machine.fingerprint[:4]}"
    return seal(replace(record, cell=replace(record.cell, cell=f"{cell}@{node}")))


def _differences(path: str, records: list[Record], own: list[Record]) -> list[str]:
    """Return plain notes where an export's data or code is not ours."""
    name, notes = Path(path).name, []
    if own and {r.dataset.fingerprint for r in records} - {r.dataset.fingerprint for r in own}:
        notes.append(f"{name} was trained on other data; its cells are shown, but compared with none of ours.")
    # Every network has a digest of its own; one that was not timed here cannot differ.
    code = {(record.cell.model, record.code.digest) for record in own}
    models = {model for model, _ in code}
    if any(r.cell.model in models and (r.cell.model, r.code.digest) not in code for r in records):
        notes.append(f"{name} was measured by another version of the timing code.")
    return notes
