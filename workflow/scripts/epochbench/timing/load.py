"""From shards to batches, on a device or on their way to it."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import safe_open

from epochbench.errors import BenchmarkError
from epochbench.shard.manifest import read_manifest
from epochbench.timing.device import Device
from epochbench.timing.machine import host
from epochbench.timing.network import arranged
from epochbench.timing.protocol import HOST
from epochbench.timing.record import Dataset
from epochbench.timing.task import Task
from epochbench.timing.team import Team

Batch = tuple[torch.Tensor, torch.Tensor]
Batches = Sequence[Batch]
FLOAT_BYTES = 4


def dataset_of(manifest_path: str | Path) -> Dataset:
    """Return what the shards' manifest says of the data."""
    manifest = read_manifest(manifest_path)
    return Dataset(
        name=manifest["source"]["name"],
        synthetic=manifest["source"]["synthetic"],
        fingerprint=manifest["fingerprint"],
        train_images=manifest["splits"]["train"]["images"],
        test_images=manifest["splits"]["test"]["images"],
        image_shape=manifest["image_shape"],
        classes=len(manifest["class_names"]),
    )


def load_batches(task: Task, team: Team, device: Device) -> tuple[Batches, float]:
    """Load this worker's share of the training images, cut into batches; return them and the seconds.

    Images are float32 [n, channels, height, width] in the cell's memory format, or what the network makes of them for
    `blocks`; labels are int64 [n]. They lie on the device, or with residency `host` come there when they are asked for.
    Raises BenchmarkError where the batch size or the layout does not fit the data, or the data does not fit the memory.
    """
    device.start()
    cell, dataset = task.cell, dataset_of(task.manifest)
    count = dataset.train_images
    if cell.batch_size > count or count % cell.batch_size % cell.processes:
        raise BenchmarkError(
            f"cell '{cell.cell}': batch_size {cell.batch_size} with {cell.processes} processes does not fit "
            f"{count} training images; choose at most as many, and divisible by the processes"
        )
    _require_room(task, dataset, device)
    if task.protocol.residency == HOST:
        return HostBatches(task, team, device, dataset), device.stop().wall_seconds
    images, labels = load_split(task.manifest, "train", device.torch_device)
    batches = [
        (arranged(_share(batch, team), cell.model, dataset, cell.memory_format), _share(truth, team))
        for batch, truth in zip(images.split(cell.batch_size), labels.split(cell.batch_size), strict=True)
    ]
    return batches, device.stop().wall_seconds


class HostBatches(Sequence):
    """Batches that lie in the host's memory as bytes; each crosses to the device when it is asked for.

    Who goes through them has the next one on its way while a step is taken on this one: from pinned memory, on a
    stream of its own, where it also becomes floats in the cell's layout. On a processor the bytes become floats alone.
    """

    def __init__(self, task: Task, team: Team, device: Device, dataset: Dataset):
        if task.cell.execution == "epoch_graph":
            raise BenchmarkError(
                f"cell '{task.cell.cell}': execution epoch_graph replays batches that stay on the device, but "
                "dataset.residency is host; choose cuda_graph, or residency device"
            )
        self.cell, self.device, self.dataset = task.cell, device, dataset
        count = dataset.train_images
        starts = [*range(0, count, task.cell.batch_size), count]
        shards = _shards(task.manifest, "train")
        stored = (_bytes_of(shards, start, stop) for start, stop in pairwise(starts))
        self.kept = [tuple(device.pinned(_share(part, team)) for part in batch) for batch in stored]

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, number: int) -> Batch:
        return self._begun(self.kept[number])()

    def __iter__(self) -> Iterator[Batch]:
        coming = None
        for batch in self.kept:
            coming, here = self._begun(batch), coming
            if here:
                yield here()
        yield coming()

    def _begun(self, batch: Batch) -> Callable[[], Batch]:
        """Begin a batch's way to the device; what is returned hands it over."""

        def on_its_way() -> Batch:
            images, labels = (part.to(self.device.torch_device, non_blocking=True) for part in batch)
            images = torch.div(images, 255)
            return arranged(images, self.cell.model, self.dataset, self.cell.memory_format), labels

        return self.device.ahead(on_its_way)


def count_images(batches: Batches) -> int:
    """Return how many images there are in batches, without bringing any to the device."""
    kept = batches.kept if isinstance(batches, HostBatches) else batches
    return sum(len(labels) for _, labels in kept)


def _require_room(task: Task, dataset: Dataset, device: Device) -> None:
    """Raise BenchmarkError, with the sizes, where the training images take more memory than is free."""
    cell, values = task.cell, dataset.train_images * math.prod(dataset.image_shape)
    on_host = task.protocol.residency == HOST
    if on_host:
        needed, free, place = values, host.free_memory_bytes(), "the host"
    else:
        # Each process has all of them at first, and as they are stored until they are in the cell's own layout.
        copies = 1 if cell.memory_format in ("contiguous", "onednn") else 2
        sharing = 1 if device.gpu() else cell.processes
        needed, free, place = values * FLOAT_BYTES * copies * sharing, device.free_memory_bytes(), "the device"
    if needed <= free:
        return
    shape = "x".join(map(str, dataset.image_shape))
    ways = "" if on_host else "set dataset.residency: host, which keeps them as bytes in the host's memory, or "
    raise BenchmarkError(
        f"cell '{cell.cell}': {dataset.train_images:,} training images of {shape} take {_in_words(needed)} on "
        f"{place}, which has {_in_words(free)} free; {ways}train on fewer or smaller images"
    )


def _in_words(count: float) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def load_split(
    manifest_path: str | Path, split: str, device: torch.device | str, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load one split, or its first `limit` images, onto a torch device.

    Returns images float32 [n, channels, height, width] in [0, 1] and labels int64 [n]. The shards are memory-mapped,
    cross to the device as bytes, and become floats there.
    """
    manifest = read_manifest(manifest_path)
    there = manifest["splits"][split]["images"]
    count = min(there, limit or there)
    images = torch.empty((count, *manifest["image_shape"]), dtype=torch.float32, device=device)
    labels = torch.empty(count, dtype=torch.int64, device=device)
    start = 0
    for stored, truth in _stored(_shards(manifest_path, split), 0, count):
        stop = start + len(truth)
        torch.div(stored.to(device), 255, out=images[start:stop])
        labels[start:stop] = truth.to(device)
        start = stop
    return images, labels


def _shards(manifest_path: str | Path, split: str) -> list[tuple[Path, int]]:
    """Return the shards of a split in their order, and how many images each has."""
    shards = read_manifest(manifest_path)["splits"][split]["shards"]
    return [(Path(manifest_path).parent / shard["file"], shard["images"]) for shard in shards]


def _stored(shards: list[tuple[Path, int]], start: int, stop: int) -> Iterator[Batch]:
    """Yield the images from `start` to `stop` of a split as they are stored, uint8 and int64, shard by shard."""
    first = 0
    for path, images in shards:
        last = first + images
        if first < stop and start < last:
            wanted = slice(max(start, first) - first, min(stop, last) - first)
            with safe_open(path, framework="pt") as stored:
                yield stored.get_slice("images")[wanted], stored.get_slice("labels")[wanted]
        first = last


def _bytes_of(shards: list[tuple[Path, int]], start: int, stop: int) -> Batch:
    """Return the images from `start` to `stop` of a split, uint8 [n, channels, height, width], and labels int64 [n]."""
    parts = list(_stored(shards, start, stop))
    return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])


def _share(batch: torch.Tensor, team: Team) -> torch.Tensor:
    """Return this worker's equal part of a batch."""
    return batch.chunk(team.size)[team.rank] if team.size > 1 else batch
