"""From an archive to tensor shards and their manifest."""

import hashlib
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from epochbench import datasets
from epochbench.errors import BenchmarkError
from epochbench.files import write_bytes, write_json
from epochbench.images import Images, Splits, check_splits
from epochbench.shard.manifest import THREADS

SPLITS = ("train", "test")
MOMENT_CHUNK = 100
# Larger images come in shards of fewer, so that a few in memory at once are no burden.
MAX_SHARD_BYTES = 128 * 2**20
# The layout of an archive whose manifest was written before there were several.
FORMER_LAYOUT = "cifar10"


def shard_archive(archive: str | Path, source: dict, folder: str | Path, shard_size: int) -> dict:
    """Write an archive's images as safetensors shards of `shard_size` images, and their manifest; return the manifest.

    Each shard holds `images` uint8 [n, channels, height, width] and `labels` int64 [n]; of large images it has fewer.
    `source` is what the stage acquire's manifest says of the archive; its `layout` names the data set that reads it.
    Raises BenchmarkError for an archive that is not in the official layout, or for a reader that returns what no data
    set holds.
    """
    source = source | {"layout": source.get("layout", FORMER_LAYOUT)}
    splits, folder = _read(archive, source["layout"]), Path(folder)
    for stale in folder.glob("*.safetensors"):
        stale.unlink()
    with ThreadPoolExecutor(THREADS) as pool:
        fingerprint = pool.submit(_fingerprint, splits)
        moments = pool.submit(_channel_moments, splits.train.images)
        shards = {split: _write_split(pool, folder, split, getattr(splits, split), shard_size) for split in SPLITS}
        mean, deviation = moments.result()
        manifest = {
            "source": source,
            "fingerprint": fingerprint.result(),
            "image_shape": list(splits.train.images.shape[1:]),
            "class_names": splits.class_names,
            "channel_mean": mean,
            "channel_std": deviation,
            "splits": {
                split: {
                    "images": len(getattr(splits, split).labels),
                    "class_histogram": _histogram(getattr(splits, split).labels, len(splits.class_names)),
                    "shards": [shard.result() for shard in shards[split]],
                }
                for split in SPLITS
            },
        }
    write_json(folder / "manifest.json", manifest)
    return manifest


def _read(archive: str | Path, layout: str) -> Splits:
    if layout not in datasets.names():
        manifest = Path(archive).with_name("manifest.json")
        raise BenchmarkError(
            f"{manifest}: its layout '{layout}' is no file of datasets/; there are {', '.join(datasets.names())}. "
            f"Delete {manifest} and {archive}, and run again"
        )
    splits = datasets.load(layout).read_archive(archive)
    check_splits(splits, layout)
    return splits


def _write_split(pool, folder: Path, split: str, data: Images, shard_size: int) -> list:
    shard_size = min(shard_size, max(1, MAX_SHARD_BYTES // math.prod(data.images.shape[1:])))
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


def _fingerprint(splits: Splits) -> str:
    """Hash every image and label of both splits in order, so that the shard size does not matter."""
    digest = hashlib.sha256()
    for split in SPLITS:
        data = getattr(splits, split)
        digest.update(str(len(data.labels)).encode())
        digest.update(np.ascontiguousarray(data.images))
        digest.update(data.labels)
    return digest.hexdigest()


def _channel_moments(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the mean and standard deviation of each channel, of pixels scaled to [0, 1]."""
    channels, pixels_each = images.shape[1], images.shape[2] * images.shape[3]
    total, squares = np.zeros(channels), np.zeros(channels)
    # A buffer that stays in cache: a float copy of everything at once takes twice as long.
    buffer = np.empty((MOMENT_CHUNK, channels, pixels_each), dtype=np.float32)
    for start in range(0, len(images), MOMENT_CHUNK):
        chunk = images[start : start + MOMENT_CHUNK].reshape(-1, *buffer.shape[1:])
        pixels = buffer[: len(chunk)]
        np.copyto(pixels, chunk)
        total += np.einsum("ncp->nc", pixels).sum(0, dtype=np.float64)
        squares += np.einsum("ncp,ncp->nc", pixels, pixels).sum(0, dtype=np.float64)
    count = len(images) * pixels_each
    mean = total / count
    deviation = np.sqrt(squares / count - mean**2)
    return (mean / 255).round(6).tolist(), (deviation / 255).round(6).tolist()


def _histogram(labels: np.ndarray, classes: int) -> list[int]:
    return np.bincount(labels, minlength=classes).tolist()
