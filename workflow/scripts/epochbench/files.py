"""Files: their checksums, and files written whole or not at all."""

import hashlib
import json
import os
import re
from pathlib import Path


def is_url(place: str) -> bool:
    """Tell an http(s) address from a local path."""
    return re.match(r"(?i)https?://", place) is not None


def digest_of(path: str | Path, algorithm: str) -> str:
    """Return a file's checksum by a hash algorithm of hashlib, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def digest_of_folder(folder: str | Path) -> str:
    """Return a digest of the name, size and time of change of every file below a folder, without reading any."""
    root, digest = Path(folder).expanduser(), hashlib.sha256()
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def write_text(path: str | Path, text: str) -> None:
    """Write a file whole or not at all: a temporary name beside it, then a rename."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write bytes whole or not at all; the file gets the user's own umask."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value: object) -> str:
    """Return the text of a JSON file; NaN is refused, since JSON has none."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_json(path: str | Path, value: object) -> None:
    """Write JSON whole or not at all."""
    write_text(path, to_json(value))
