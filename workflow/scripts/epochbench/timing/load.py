"""From shards to batches on a device."""

from pathlib import Path

import torch
from safetensors import safe_open

from epochbench.errors import BenchmarkError
from epochbench.shard.manifest import read_manifest
from epochbench.timing.device import Device
from epochbench.timing.network import arranged
from epochbench.timing.record import Dataset
from epochbench.timing.task import Task
from epochbench.timing.team import Team

Batches = list[tuple[torch.Tensor, torch.Tensor]]


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
    """Load this worker's share of the training images onto the device, cut into batches; return them and the seconds.

    Images are float32 [n, channels, height, width] in the cell's memory format, or what the network makes of them for
    `blocks`; labels are int64 [n]. Raises BenchmarkError where the batch size or the layout does not fit the data.
    """
    device.start()
    images, labels = load_split(task.manifest, "train", device.torch_device)
    cell, dataset = task.cell, dataset_of(task.manifest)
    if cell.batch_size > len(labels) or len(labels) % cell.batch_size % cell.processes:
        raise BenchmarkError(
            f"cell '{cell.cell}': batch_size {cell.batch_size} with {cell.processes} processes does not fit "
            f"{len(labels)} training images; choose at most as many, and divisible by the processes"
        )
    batches = [
        (arranged(_share(batch, team), cell.model, dataset, cell.memory_format), _share(truth, team))
        for batch, truth in zip(images.split(cell.batch_size), labels.split(cell.batch_size), strict=True)
    ]
    return batches, device.stop().wall_seconds


def load_split(
    manifest_path: str | Path, split: str, device: torch.device | str, limit: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Load one split, or its first `limit` images, onto a torch device.

    Returns images float32 [n, channels, height, width] in [0, 1] and labels int64 [n]. The shards are memory-mapped,
    cross to the device as bytes, and become floats there.
    """
    manifest = read_manifest(manifest_path)
    part = manifest["splits"][split]
    count = min(part["images"], limit or part["images"])
    images = torch.empty((count, *manifest["image_shape"]), dtype=torch.float32, device=device)
    labels = torch.empty(count, dtype=torch.int64, device=device)
    start = 0
    for shard in part["shards"]:
        stop = min(start + shard["images"], count)
        with safe_open(Path(manifest_path).parent / shard["file"], framework="pt") as stored:
            torch.div(stored.get_slice("images")[: stop - start].to(device), 255, out=images[start:stop])
            labels[start:stop] = stored.get_slice("labels")[: stop - start].to(device)
        start = stop
        if start == count:
            break
    return images, labels


def _share(batch: torch.Tensor, team: Team) -> torch.Tensor:
    """Return this worker's equal part of a batch."""
    return batch.chunk(team.size)[team.rank] if team.size > 1 else batch
