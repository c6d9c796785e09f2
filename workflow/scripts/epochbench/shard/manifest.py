"""The manifest beside the shards, and whether they are as it says."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from epochbench.errors import BenchmarkError
from epochbench.files import digest_of

# Reading, writing and hashing let go of the interpreter; more threads than this wait for the disk.
THREADS = 4


def read_manifest(path: str | Path) -> dict:
    """Read the manifest beside the shards. Raises BenchmarkError where it is not readable, or of an earlier version."""
    try:
        manifest = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable ({error}); delete it and run again") from error
    if "image_shape" not in manifest:
        raise BenchmarkError(f"{path}: written by an earlier version; delete it and run again")
    return manifest


def verify_shards(manifest_path: str | Path) -> None:
    """Check every shard against the manifest's SHA-256. Raises BenchmarkError naming the shard that differs."""
    folder = Path(manifest_path).parent
    shards = [shard for split in read_manifest(manifest_path)["splits"].values() for shard in split["shards"]]
    with ThreadPoolExecutor(THREADS) as pool:
        for problem in pool.map(lambda shard: _problem(folder / shard["file"], shard["sha256"]), shards):
            if problem:
                raise BenchmarkError(f"{problem}; delete {manifest_path} and run again: the shards are made anew")


def _problem(path: Path, expected: str) -> str | None:
    try:
        actual = digest_of(path, "sha256")
    except OSError as error:
        return f"shard {path}: not readable ({error.strerror})"
    return None if actual == expected else f"shard {path}: its sha256 is {actual}, the manifest says {expected}"
