import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from epochbench import datasets
from epochbench.datasets.cifar10 import read_archive
from epochbench.errors import BenchmarkError
from epochbench.images import Images, Splits
from epochbench.shard import provenance
from epochbench.shard.carry import pack, unpack
from epochbench.shard.manifest import read_manifest, verify_shards
from epochbench.shard.provenance import code_digest
from epochbench.shard.write import shard_archive
from epochbench.timing.load import load_split

SOURCE = {"name": "x", "synthetic": True, "layout": "cifar10"}


@pytest.fixture
def folder(archive, tmp_path):
    shard_archive(archive, SOURCE, tmp_path, shard_size=150)
    return tmp_path


def test_shards_hold_every_image_and_label_in_order(archive, folder):
    names = [f"train-0000{n}-of-00004.safetensors" for n in range(4)]
    shards = [load_file(folder / name) for name in names]
    truth = read_archive(archive)
    assert [len(shard["labels"]) for shard in shards] == [150, 150, 150, 50]
    assert np.array_equal(np.concatenate([shard["images"] for shard in shards]), truth.train.images)
    assert np.array_equal(np.concatenate([shard["labels"] for shard in shards]), truth.train.labels)
    assert shards[0]["images"].dtype == np.uint8
    assert shards[0]["labels"].dtype == np.int64


def test_the_manifest_says_what_the_images_are(archive, folder):
    manifest = read_manifest(folder / "manifest.json")
    images = read_archive(archive).train.images.astype(np.float64) / 255
    assert manifest["channel_mean"] == pytest.approx(images.mean(axis=(0, 2, 3)), abs=1e-5)
    assert manifest["channel_std"] == pytest.approx(images.std(axis=(0, 2, 3)), abs=1e-5)
    assert manifest["splits"]["train"]["images"] == sum(manifest["splits"]["train"]["class_histogram"]) == 500
    shard = manifest["splits"]["test"]["shards"][0]
    assert hashlib.sha256((folder / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]


def test_an_archive_acquired_before_there_were_layouts_is_cifar10s(archive, folder, tmp_path):
    manifest = shard_archive(archive, {"name": "x", "synthetic": True}, tmp_path / "again", shard_size=150)
    assert manifest == read_manifest(folder / "manifest.json")


def test_an_unknown_layout_names_both_files_to_delete(archive, tmp_path):
    with pytest.raises(BenchmarkError, match=r"layout 'bars' is no file.*Delete .*/manifest\.json and .*\.tar\.gz"):
        shard_archive(archive, SOURCE | {"layout": "bars"}, tmp_path, shard_size=150)


def returned(count=4, dtype=np.uint8, shape=(1, 8, 8), labels=(0, 1, 2, 1), kind=np.int64):
    return Images(np.zeros((count, *shape), dtype), np.array(labels, kind))


@pytest.mark.fault("broken data sets", "refused")
@pytest.mark.parametrize(
    ("train", "words"),
    [
        (returned(dtype=np.float32), r"train images are float32 \[4, 1, 8, 8\], not uint8"),
        (returned(shape=(8, 8)), r"train images are uint8 \[4, 8, 8\]"),
        (returned(kind=np.int32), r"train labels are int32 \[4\], not int64"),
        (returned(labels=((0, 1, 2, 1),)), r"train labels are int64 \[1, 4\]"),
        (returned(count=3), "train split has 3 images and 4 labels"),
        (returned(count=0, labels=()), "train split has 0 images and 0 labels"),
        (returned(labels=(0, 1, 3, 1)), "train labels are 0 to 3, but its 3 classes are 0 to 2"),
        (returned(labels=(-1, 1, 2, 1)), "train labels are -1 to 2"),
        (returned(shape=(3, 8, 8)), r"its train images have shape \[3, 8, 8\], its test images \[1, 8, 8\]"),
    ],
)
def test_what_a_reader_returns_is_checked_before_it_is_written(tmp_path, monkeypatch, train, words):
    splits = Splits(train, returned(), ["a", "b", "c"])
    monkeypatch.setattr(datasets, "load", lambda name: SimpleNamespace(read_archive=lambda path: splits))
    with pytest.raises(BenchmarkError, match=f"data set 'cifar10': .*{words}"):
        shard_archive("x", SOURCE, tmp_path, shard_size=2)
    assert list(tmp_path.iterdir()) == []


def test_the_code_that_makes_shards_is_the_readers_too(monkeypatch, tmp_path):
    shutil.copytree(provenance.PACKAGE, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    digests = {code_digest("cifar10"), code_digest("mnist")}
    for module in ("datasets/cifar10.py", "datasets/_pickled.py", "archive.py", "images.py", "shard/write.py"):
        with (tmp_path / module).open("a") as file:
            file.write("# changed\n")
        digests.add(code_digest("cifar10"))
    assert len(digests) == 7


def test_the_fingerprint_is_of_the_data_and_not_of_the_shard_size(archive, folder, tmp_path):
    other = shard_archive(archive, SOURCE, tmp_path / "other", shard_size=1000)
    assert other["fingerprint"] == read_manifest(folder / "manifest.json")["fingerprint"]
    assert len(other["splits"]["train"]["shards"]) == 1


def test_sharding_again_leaves_no_shard_of_the_first_time(archive, folder):
    shard_archive(archive, SOURCE, folder, shard_size=300)
    assert sorted(path.name for path in folder.glob("*.safetensors")) == [
        "test-00000-of-00001.safetensors",
        "train-00000-of-00002.safetensors",
        "train-00001-of-00002.safetensors",
    ]


def test_shards_travel_in_one_file(folder, tmp_path):
    pack(folder / "manifest.json", str(folder / "shards.zip"))
    there = tmp_path / "there"
    there.mkdir()
    shutil.copy(folder / "manifest.json", there)
    with pytest.raises(BenchmarkError, match="not readable"):
        verify_shards(there / "manifest.json")
    unpack(str(folder / "shards.zip"), there / "manifest.json")
    verify_shards(there / "manifest.json")
    assert len(list(there.glob("*.safetensors"))) == 5


def test_where_nothing_carries_shards_there_is_no_such_file(folder):
    before = sorted(folder.iterdir())
    pack(folder / "manifest.json", None)
    unpack(None, folder / "manifest.json")
    assert sorted(folder.iterdir()) == before


def test_loads_floats_from_zero_to_one(archive, folder):
    images, labels = load_split(folder / "manifest.json", "train", "cpu")
    truth = read_archive(archive).train
    assert images.dtype == torch.float32
    assert torch.equal(images, torch.from_numpy(truth.images.astype(np.float32)) / 255)
    assert torch.equal(labels, torch.from_numpy(truth.labels))


def test_an_edited_shard_is_named_with_both_checksums(folder):
    path = folder / "train-00001-of-00004.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match="train-00001-of-00004") as refusal:
        verify_shards(folder / "manifest.json")
    expected = read_manifest(folder / "manifest.json")["splits"]["train"]["shards"][1]["sha256"]
    assert expected in str(refusal.value)
    assert hashlib.sha256(content).hexdigest() in str(refusal.value)


def test_a_missing_shard_is_named(folder):
    (folder / "test-00000-of-00001.safetensors").unlink()
    with pytest.raises(BenchmarkError, match="test-00000-of-00001"):
        verify_shards(folder / "manifest.json")


def test_a_broken_manifest_is_named(tmp_path):
    Path(tmp_path / "manifest.json").write_text(json.dumps({})[:1])
    with pytest.raises(BenchmarkError, match=r"manifest\.json: not readable"):
        read_manifest(tmp_path / "manifest.json")
