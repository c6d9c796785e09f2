"""CIFAR-100, MNIST and Fashion-MNIST: official archives in miniature, from loopback servers, whole, cut and hostile."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR100, MNIST, FashionMNIST
from unit.server import serving

from epochbench import datasets
from epochbench.acquire.acquire import Wanted, acquire
from epochbench.acquire.download import Patience
from epochbench.archive import PACKED, add, packed
from epochbench.datasets import _idx, cifar100, fashion_mnist, mnist
from epochbench.errors import BenchmarkError
from epochbench.shard.samples import draw_samples
from epochbench.shard.write import shard_archive

HASTE = Patience(connect=0.5, stall=0.5, unreachable=1.0, back_off=0.01, attempts=3)


def idx(values, *sizes):
    """An IDX file of unsigned bytes, as its description says."""
    header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
    return gzip.compress(header + np.asarray(values, np.uint8).tobytes(), mtime=0)


def mnist_files(train=30, test=10):
    pixels = np.random.default_rng(3).integers(0, 256, (train + test, 28, 28))
    return dict(
        zip(
            _idx.NAMES,
            [
                idx(pixels[:train], train, 28, 28),
                idx(np.arange(train) % 10, train),
                idx(pixels[train:], test, 28, 28),
                idx(np.arange(test) % 10, test),
            ],
            strict=True,
        )
    )


def cifar100_members(count=100):
    """The members of the official archive, as Python 2 named their keys."""

    def split(seed):
        random = np.random.default_rng(seed)
        return {
            b"data": random.integers(0, 256, (count, 3072)).astype(np.uint8),
            b"fine_labels": [number % 100 for number in range(count)],
            b"coarse_labels": [number % 20 for number in range(count)],
            b"filenames": [b"x.png"] * count,
        }

    fine = [f"fine {number}".encode() for number in range(100)]
    documents = {"train": split(1), "test": split(2), "meta": {b"fine_label_names": fine, b"coarse_label_names": []}}
    return {"file.txt~": b""} | {name: pickle.dumps(document, 2) for name, document in documents.items()}


def tar(members, folder="cifar-100-python"):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, member in members.items():
            add(archive, f"{folder}/{name}", member)
    return content.getvalue()


def sha256(*contents):
    return " ".join(hashlib.sha256(content).hexdigest() for content in contents)


def fetch(tmp_path, **wanted):
    console = io.StringIO()
    return acquire(Wanted(**{"when_unreachable": "fail"} | wanted), tmp_path / "dataset.tar.gz", console, HASTE)


def test_addresses_checksums_and_classes_are_torchvisions_own():
    assert (datasets.File(CIFAR100.url, CIFAR100.tgz_md5),) == cifar100.FILES
    for ours, theirs in ((mnist, MNIST), (fashion_mnist, FashionMNIST)):
        assert [(file.url, file.md5) for file in ours.FILES] == [
            (theirs.mirrors[0] + name, md5) for name, md5 in theirs.resources
        ]
        assert len(ours.CLASS_NAMES) == len(theirs.classes)
    assert list(fashion_mnist.CLASS_NAMES) == FashionMNIST.classes


def test_cifar100_is_fetched_and_has_its_fine_labels(tmp_path):
    content = tar(cifar100_members())
    with serving(content) as site:
        site.behaviour = "truncates once"
        source = fetch(tmp_path, source="cifar100", archive=site.url(), sha256=sha256(content))
        assert len(site.requests) == 2
    manifest = shard_archive(tmp_path / "dataset.tar.gz", source, tmp_path / "shard", 50)
    assert (manifest["image_shape"], len(manifest["class_names"])) == ([3, 32, 32], 100)
    assert manifest["class_names"][99] == "fine 99"
    assert manifest["splits"]["train"]["class_histogram"] == [1] * 100
    draw_samples(tmp_path / "shard" / "manifest.json", tmp_path / "samples.png")
    assert int.from_bytes((tmp_path / "samples.png").read_bytes()[16:20]) == 2 + 20 * 34


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": pickle.dumps(print)}, "'train': refused: the pickle asks for builtins.print"),
        ({"train": pickle.dumps({b"data": np.zeros((1, 9), np.uint8), b"fine_labels": [0]}, 2)}, "'train': 'data' has"),
        (
            {"test": pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"fine_labels": [100]}, 2)},
            "label 100 is out",
        ),
        ({"meta": pickle.dumps({b"fine_label_names": [b"a"]}, 2)}, "'fine_label_names' must list 100"),
        ({"meta": None}, "'cifar-100-python/meta' is missing"),
        ({"evil.sh": b"x"}, "unknown member 'cifar-100-python/evil.sh'"),
    ],
)
def test_a_hostile_cifar100_is_refused(tmp_path, changes, words):
    members = {name: member for name, member in (cifar100_members() | changes).items() if member is not None}
    (tmp_path / "a.tar.gz").write_bytes(tar(members))
    with pytest.raises(BenchmarkError, match=words):
        cifar100.read_archive(tmp_path / "a.tar.gz")


@pytest.mark.parametrize("source", ["mnist", "fashion_mnist"])
def test_four_files_are_fetched_resumed_and_read(tmp_path, source):
    files = mnist_files()
    with serving(files) as site:
        site.behaviour = "truncates once"
        found = fetch(tmp_path, source=source, archive=site.url("data/"), sha256=sha256(*files.values()))
        assert len(site.requests) == 5
    assert (found["origin"], found["name"]) == (site.url("data"), "data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset.tar.gz", "manifest.json"]
    manifest = shard_archive(tmp_path / "dataset.tar.gz", found, tmp_path / "shard", 50)
    assert manifest["image_shape"] == [1, 28, 28]
    assert manifest["splits"]["train"]["class_histogram"] == [3] * 10
    splits = mnist.read_archive(tmp_path / "dataset.tar.gz")
    expected = np.random.default_rng(3).integers(0, 256, (40, 28, 28)).astype(np.uint8)
    assert np.array_equal(splits.train.images[:, 0], expected[:30])
    assert np.array_equal(splits.test.images[:, 0], expected[30:])


@pytest.mark.fault("network", "survived")
def test_what_arrived_before_another_file_failed_is_kept_and_a_mirror_helps(tmp_path):
    files = mnist_files()
    checksums = sha256(*files.values())
    short = dict(list(files.items())[:2])
    with serving(short) as first, serving(files) as mirror:
        with pytest.raises(BenchmarkError, match=r"(?s)t10k-images.*answers 404.*Three ways on"):
            fetch(tmp_path, source="mnist", archive=first.url(""), sha256=checksums)
        assert len(list(tmp_path.glob("*.part"))) == 2
        found = fetch(tmp_path, source="mnist", archive=first.url(""), sha256=checksums, mirrors=(mirror.url(""),))
        # What was there is asked for no more than what would follow it.
        assert first.requests[-4:-2] == [f"bytes={len(content)}-" for content in short.values()]
        assert mirror.requests == [None, None]
    assert found["origin"] == f"{first.url('')[:-1]}, {mirror.url('')[:-1]}"
    assert len(mnist.read_archive(tmp_path / "dataset.tar.gz").train.labels) == 30


def test_four_local_files_are_copied_and_verified_one_by_one(tmp_path):
    files, folder = mnist_files(), tmp_path / "official"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    fetch(tmp_path, source="mnist", archive=str(folder), sha256=sha256(*files.values()))
    first = (tmp_path / "dataset.tar.gz").read_bytes()
    fetch(tmp_path, source="mnist", archive=str(folder), sha256=sha256(*files.values()))
    assert (tmp_path / "dataset.tar.gz").read_bytes() == first
    (folder / _idx.NAMES[2]).write_bytes(b"\x1f\x8b other")
    with pytest.raises(BenchmarkError, match="t10k-images-idx3-ubyte.gz: its sha256 is"):
        fetch(tmp_path, source="mnist", archive=str(folder), sha256=sha256(*files.values()))
    with pytest.raises(BenchmarkError, match=r"dataset.sha256: has 1 checksums, but mnist consists of train-images"):
        fetch(tmp_path, source="mnist", archive=str(folder), sha256="0" * 64)
    assert (tmp_path / "dataset.tar.gz").read_bytes() == first


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    ("number", "content", "words"),
    [
        (0, idx(np.zeros(9), 2**31, 28, 28), "promises 2147483648 x 28 x 28 bytes, but 9 follow"),
        (0, idx(np.zeros((30, 4, 4)), 30, 4, 4), "images of 4 x 4, not 28 x 28"),
        (0, idx(np.zeros(784), 784), "begins with 00000801"),
        (0, idx(np.zeros(784), 784)[:-9], "truncated or no gzip file"),
        (0, b"\x1f\x8b" + b"x" * 40, "truncated or no gzip file"),
        (0, gzip.compress(bytes(2**20 * 129), 1), "unpacks to more than"),
        (1, idx(np.full(30, 10), 30), "label 10 is outside 0-9"),
        (1, idx(np.zeros(29), 29), "29 labels, but 'train-images-idx3-ubyte.gz' has 30 images"),
        (3, None, "'t10k-labels-idx1-ubyte.gz' is missing"),
    ],
)
def test_a_hostile_mnist_file_is_refused_by_name(tmp_path, number, content, words):
    files = mnist_files() | {_idx.NAMES[number]: content}
    with packed(tmp_path / "a.tar.gz") as archive:
        for name, member in files.items():
            if member is not None:
                add(archive, f"{PACKED}/{name}", member)
    with pytest.raises(BenchmarkError, match=words) as refusal:
        mnist.read_archive(tmp_path / "a.tar.gz")
    assert _idx.NAMES[number] in str(refusal.value)
