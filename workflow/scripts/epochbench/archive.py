"""A tar archive, read as if a stranger had sent it (nothing is executed, nothing is extracted), and written."""

import contextlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from isal import igzip, igzip_threaded

from epochbench.errors import BenchmarkError

# An official batch file is 31 MB; twice that is room enough, and a bound on what a hostile archive can make us hold.
MAX_MEMBER_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 64 * 2**10
EXTENDED_TYPES = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
READ_AHEAD_BYTES = 2**20
# What is packed here: several official files, or one that says which images are meant.
PACKED, PLAN = "files", "plan.json"


@contextlib.contextmanager
def opened(path: str | Path) -> Iterator[tarfile.TarFile]:
    """Open a gzip-compressed tar for one pass from its beginning; decompression runs ahead in a thread.

    Raises BenchmarkError, whenever it turns out, for a file that is truncated, damaged, or no such archive.
    """
    try:
        with (
            igzip_threaded.open(path, "rb", threads=1, block_size=READ_AHEAD_BYTES) as stream,
            tarfile.open(fileobj=stream, mode="r|", bufsize=READ_AHEAD_BYTES, tarinfo=_BoundedTarInfo) as archive,
        ):
            yield archive
    except (EOFError, zlib.error) as error:
        raise BenchmarkError(f"{path}: the archive is truncated or damaged ({error}); acquire it again") from error
    except (OSError, tarfile.TarError) as error:
        raise BenchmarkError(f"{path}: not a gzip-compressed tar archive ({error})") from error


def read_members(
    archive: tarfile.TarFile, path: str | Path, folder: str, names: tuple[str, ...], limit: int = MAX_MEMBER_BYTES
) -> Iterator[tuple[str, bytes]]:
    """Yield the name and content of each member, in the archive's own order.

    Raises BenchmarkError for anything but plain files in `folder` with one of `names`, each at most once and of at most
    `limit` bytes.
    """
    seen = set()
    for member in archive:
        if member.isdir() and member.name.rstrip("/") == folder:
            continue
        place, _, name = member.name.rpartition("/")
        if place != folder or name not in names:
            raise BenchmarkError(f"{path}: unknown member {member.name[:200]!r}; the official archive has none such")
        if not member.isfile():
            raise BenchmarkError(f"{path}: member '{member.name}' is no plain file (a link or a device); refused")
        if name in seen:
            raise BenchmarkError(f"{path}: member '{member.name}' occurs twice; refused")
        if member.size > limit:
            raise BenchmarkError(f"{path}: member '{member.name}' declares {member.size} bytes; too large, refused")
        seen.add(name)
        content = archive.extractfile(member).read()
        if len(content) != member.size:
            raise EOFError(f"member '{member.name}' ends after {len(content)} of {member.size} bytes")
        yield name, content


@contextlib.contextmanager
def packed(path: str | Path) -> Iterator[tarfile.TarFile]:
    """Write a gzip-compressed tar; the same members give the same bytes."""
    with (
        open(path, "wb") as raw,
        igzip.IGzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as compressed,
        tarfile.open(fileobj=compressed, mode="w|") as archive,
    ):
        yield archive


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a plain file to an archive that is written."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def read_packed(path: str | Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Return the content of each of several files that were packed. Raises BenchmarkError where one is missing."""
    with opened(path) as archive:
        contents = dict(read_members(archive, path, PACKED, names))
    missing = [name for name in names if name not in contents]
    if missing:
        raise BenchmarkError(f"{path}: file '{missing[0]}' is missing")
    return contents


def read_plan(path: str | Path) -> dict:
    """Return the plan that an archive holds in place of images."""
    return json.loads(read_packed(path, (PLAN,))[PLAN])


class _BoundedTarInfo(tarfile.TarInfo):
    """Refuses an extended header (a long name, POSIX's attributes) that tarfile would read into memory whole."""

    @classmethod
    def frombuf(cls, buf: bytes, encoding: str, errors: str) -> tarfile.TarInfo:
        """Build from a header block. Raises BenchmarkError where an extended header is larger than any name needs."""
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENDED_TYPES and header.size > MAX_HEADER_BYTES:
            raise BenchmarkError(f"the archive has an extended header of {header.size} bytes; too large, refused")
        return header
