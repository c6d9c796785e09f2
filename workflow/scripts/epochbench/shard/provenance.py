"""Which code turns an archive into shards."""

import hashlib
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
MODULES = ("archive.py", "images.py", "shard/write.py")


def code_digest(layout: str) -> str:
    """Return the SHA-256 of the code that reads a data set, what several share included, and writes its shards."""
    shared = sorted(path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "datasets").glob("_[a-z]*.py"))
    digest = hashlib.sha256()
    for name in (*MODULES, *shared, f"datasets/{layout}.py"):
        digest.update(name.encode() + b"\0" + (PACKAGE / name).read_bytes() + b"\0")
    return digest.hexdigest()[:16]
