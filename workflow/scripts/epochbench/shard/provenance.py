"""Which code turns an archive into shards."""

import hashlib
from pathlib import Path

from epochbench import datasets

PACKAGE = Path(__file__).parents[1]
MODULES = ("archive.py", "images.py", "shard/write.py")


def code_digest(source: str) -> str:
    """Return the SHA-256 of the code that reads the archive of a `dataset.source` and writes its shards."""
    digest = hashlib.sha256()
    for name in (*MODULES, f"datasets/{datasets.layout_of(source)}.py"):
        digest.update(name.encode() + b"\0" + (PACKAGE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
