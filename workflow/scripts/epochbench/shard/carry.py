"""The shards in one file, for a storage that carries to a job what it reads: their own names depend on the data.

Where there is no such storage, `archive` is None, and nothing is to be done.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

from epochbench.files import write_bytes
from epochbench.shard.manifest import read_manifest


def pack(manifest_path: str | Path, archive: str | None) -> None:
    """Write the shards of a manifest into one file."""
    if archive is None:
        return
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for shard in _shards(manifest_path):
            file.write(shard, shard.name)


def unpack(archive: str | None, manifest_path: str | Path) -> None:
    """Lay the shards of a manifest beside it, where they are missing; whoever reads them checks them."""
    if archive is None:
        return
    with zipfile.ZipFile(archive) as file:
        for shard in _shards(manifest_path):
            if not shard.exists():
                write_bytes(shard, file.read(shard.name))


def _shards(manifest_path: str | Path) -> Iterator[Path]:
    for split in read_manifest(manifest_path)["splits"].values():
        yield from (Path(manifest_path).parent / shard["file"] for shard in split["shards"])
