"""From an archive to shards and their manifest, and from shards to tensors."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from epochbench.archive import CLASSES, IMAGE_SHAPE, Dataset, Images, read_archive
from epochbench.errors import BenchmarkError
from epochbench.record import write_bytes, write_json

SPLITS = ("train", "test")
# Writing and hashing let go of the interpreter; more threads than this wait for the disk.
WRITERS = 4
MOMENT_CHUNK = 100


def shard_archive(archive, source: dict, folder, shard_size: int) -> dict:
    """Write an archive's images as safetensors shards of `shard_size` images, and their manifest; return the manifest.

    Each shard holds `images` uint8 [n, 3, 32, 32] and `labels` int64 [n]. `source` is what acquire.py's manifest says
    of the archive. Raises BenchmarkError for an archive that is not in the official layout.
    """
    dataset = read_archive(archive)
    folder = Path(folder)
    for stale in folder.glob("*.safetensors"):
        stale.unlink()
    with ThreadPoolExecutor(WRITERS) as pool:
        fingerprint = pool.submit(_fingerprint, dataset)
        moments = pool.submit(_channel_moments, dataset.train.images)
        shards = {split: _write_split(pool, folder, split, getattr(dataset, split), shard_size) for split in SPLITS}
        mean, deviation = moments.result()
        manifest = {
            "source": source,
            "fingerprint": fingerprint.result(),
            "class_names": dataset.class_names,
            "channel_mean": mean,
            "channel_std": deviation,
            "splits": {
                split: {
                    "images": len(getattr(dataset, split).labels),
                    "class_histogram": _histogram(getattr(dataset, split).labels),
                    "shards": [shard.result() for shard in shards[split]],
                }
                for split in SPLITS
            },
        }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _write_split(pool, folder: Path, split: str, data: Images, shard_size: int) -> list:
    starts = range(0, len(data.labels), shard_size)
    return [
        pool.submit(
            _write_shard,
            folder / f"{split}-{number:05d}-of-{len(starts):05d}.safetensors",
            Images(data.images[start : start + shard_size], data.labels[start : start + shard_size]),
        )
        for number, start in enumerate(starts)
    ]


def _write_shard(path: Path, data: Images) -> dict:
    from safetensors.numpy import save

    content = save({"images": data.images, "labels": data.labels})
    write_bytes(path, content)
    return {
        "file": path.name,
        "images": len(data.labels),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def _fingerprint(dataset: Dataset) -> str:
    """Hash every image and label of both splits in order, so that the shard size does not matter."""
    digest = hashlib.sha256()
    for split in SPLITS:
        data = getattr(dataset, split)
        digest.update(str(len(data.labels)).encode())
        digest.update(np.ascontiguousarray(data.images))
        digest.update(data.labels)
    return digest.hexdigest()


def _channel_moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel, of pixels scaled to [0, 1]."""
    total, squares = np.zeros(3), np.zeros(3)
    # A buffer that stays in cache: a float copy of everything at once takes twice as long.
    buffer = np.empty((MOMENT_CHUNK, 3, IMAGE_SHAPE[1] * IMAGE_SHAPE[2]), dtype=np.float32)
    for start in range(0, len(images), MOMENT_CHUNK):
        chunk = images[start : start + MOMENT_CHUNK].reshape(-1, *buffer.shape[1:])
        pixels = buffer[: len(chunk)]
        np.copyto(pixels, chunk)
        total += np.einsum("ncp->nc", pixels).sum(0, dtype=np.float64)
        squares += np.einsum("ncp,ncp->nc", pixels, pixels).sum(0, dtype=np.float64)
    count = len(images) * buffer.shape[2]
    mean = total / count
    deviation = np.sqrt(squares / count - mean**2)
    return (mean / 255).round(6).tolist(), (deviation / 255).round(6).tolist()


def _histogram(labels: np.ndarray) -> list[int]:
    return np.bincount(labels, minlength=CLASSES).tolist()


def read_manifest(path) -> dict:
    """Read the manifest beside the shards."""
    try:
        return json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable ({error}); delete it and run again") from error


def verify_shards(manifest_path) -> None:
    """Check every shard against the manifest's SHA-256. Raises BenchmarkError naming the shard that differs."""
    folder = Path(manifest_path).parent
    shards = [shard for split in read_manifest(manifest_path)["splits"].values() for shard in split["shards"]]
    with ThreadPoolExecutor(WRITERS) as pool:
        for problem in pool.map(lambda shard: _problem(folder / shard["file"], shard["sha256"]), shards):
            if problem:
                raise BenchmarkError(f"{problem}; delete {manifest_path} and run again: the shards are made anew")


def _problem(path: Path, expected: str) -> str | None:
    try:
        with path.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        return f"shard {path}: not readable ({error.strerror})"
    return None if found == expected else f"shard {path}: its sha256 is {found}, the manifest says {expected}"


def load_split(manifest_path, split: str, device, limit: int | None = None) -> tuple:
    """Load one split, or its first `limit` images, onto a torch device.

    Returns images float32 [n, 3, 32, 32] in [0, 1] and labels int64 [n]. The shards are memory-mapped, cross to the
    device as bytes, and become floats there.
    """
    import torch
    from safetensors import safe_open

    manifest = read_manifest(manifest_path)["splits"][split]
    count = min(manifest["images"], limit or manifest["images"])
    images = torch.empty((count, *IMAGE_SHAPE), dtype=torch.float32, device=device)
    labels = torch.empty(count, dtype=torch.int64, device=device)
    start = 0
    for shard in manifest["shards"]:
        stop = min(start + shard["images"], count)
        with safe_open(Path(manifest_path).parent / shard["file"], framework="pt") as stored:
            torch.div(stored.get_slice("images")[: stop - start].to(device), 255, out=images[start:stop])
            labels[start:stop] = stored.get_slice("labels")[: stop - start].to(device)
        start = stop
        if start == count:
            break
    return images, labels
