import gzip
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from epochbench.datasets.cifar10 import FOLDER, META_MEMBER, TEST_MEMBER, TRAIN_MEMBERS, read_archive
from epochbench.errors import BenchmarkError


def batch(count=4, labels=None):
    pixels = np.arange(count * 3072, dtype=np.int64).reshape(count, 3072).astype(np.uint8)
    return {"data": pixels, "labels": list(range(count)) if labels is None else labels, "batch_label": "x"}


def official(count=4, protocol=2):
    """The members of a right archive, by name."""
    members = {name: pickle.dumps(batch(count), protocol) for name in (*TRAIN_MEMBERS, TEST_MEMBER)}
    meta = {"num_cases_per_batch": count, "label_names": [f"class {n}" for n in range(10)], "num_vis": 3072}
    return members | {META_MEMBER: pickle.dumps(meta, protocol)}


def write(path, members, folder=FOLDER, extra=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in extra:
            archive.addfile(member)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "archive.tar.gz"


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_images_and_labels_in_the_order_of_the_batches(path, protocol):
    members = official(protocol=protocol)
    members["data_batch_3"] = pickle.dumps(batch(labels=[9, 9, 9, 9]), protocol)
    # The official archive does not hold its batches in order either.
    dataset = read_archive(write(path, dict(reversed(members.items()))))
    assert dataset.train.images.shape == (20, 3, 32, 32)
    assert dataset.train.images.dtype == np.uint8
    assert dataset.train.labels.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 9, 9, 9, 9, 0, 1, 2, 3, 0, 1, 2, 3]
    assert np.array_equal(dataset.test.images.reshape(4, 3072), batch()["data"])
    assert dataset.class_names[2] == "class 2"


def test_reads_a_pickle_as_python_2_wrote_the_official_files(path):
    """Protocol 2 with byte strings for keys and pixels, which Python 3 does not write by itself."""
    pixels = batch(1)["data"]
    python2 = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR"
        b"(K\x01(K\x01M\x00\x0ctcnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + len(pixels.tobytes()).to_bytes(4, "little")
        + pixels.tobytes()
        + b"tbU\x06labels](K\x05eu."
    )
    members = official(1) | {"data_batch_2": python2}
    dataset = read_archive(write(path, members))
    assert dataset.train.labels.tolist() == [0, 5, 0, 0, 0]
    assert np.array_equal(dataset.train.images[1].reshape(-1), pixels[0])


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/epochbench-was-executed",)


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps(Evil()), "refused: the pickle asks for (posix|nt).system"),
        (b"cbuiltins\neval\n(V1+1\ntR.", "refused: the pickle asks for builtins.eval"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00xX\x04\x00\x00\x00zlib\x86R.", "refused: codec"),
        (
            b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nJ\xff\xff\xff\x7f\x85C\x01b\x87R.",
            "refused: an array that does not begin empty",
        ),
        (pickle.dumps(batch() | {"data": np.array([object()])}, 2), "refused: an array of type 'O8'"),
        (pickle.dumps(batch() | {"data": np.zeros((4, 3072))}, 2), "refused: an array of type 'f8'"),
        (b"not a pickle at all", "not a readable pickle"),
        (pickle.dumps([1, 2]), "holds a list, not a dictionary"),
        (pickle.dumps(batch(labels=[0, 1, 2, 10]), 2), "label 10 is outside 0-9"),
        (pickle.dumps(batch(labels=[0, 1, 2, -1]), 2), "label -1 is outside 0-9"),
        (pickle.dumps(batch(labels=[0, 1, 2]), 2), "4 images but 3 labels"),
        (pickle.dumps(batch(labels=["a"] * 4), 2), "no list of whole numbers"),
        (pickle.dumps(batch(3), 2), "holds 3 images, batches.meta promises 4"),
        (pickle.dumps(batch() | {"data": np.zeros((4, 3071), np.uint8)}, 2), r"shape \(4, 3071\)"),
        (pickle.dumps({"labels": [1]}, 2), "'data' has shape None"),
    ],
)
def test_refuses_what_the_official_batches_would_not_hold(path, content, message):
    with pytest.raises(BenchmarkError, match=message) as refusal:
        read_archive(write(path, official() | {"data_batch_4": content}))
    assert "data_batch_4" in str(refusal.value)
    assert not Path("/tmp/epochbench-was-executed").exists()


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ({"label_names": ["a"], "num_cases_per_batch": 4}, "must list 10 classes"),
        ({"label_names": list("abcdefghij"), "num_cases_per_batch": 10**9}, "'num_cases_per_batch' is 1000000000"),
    ],
)
def test_refuses_a_foreign_meta_file(path, meta, message):
    with pytest.raises(BenchmarkError, match=message):
        read_archive(write(path, official() | {META_MEMBER: pickle.dumps(meta, 2)}))


def link(name, kind, target="/etc/passwd"):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (tarfile.TarInfo("../escaped"), "unknown member '../escaped'"),
        (tarfile.TarInfo("/etc/cron.d/x"), "unknown member"),
        (tarfile.TarInfo(f"{FOLDER}/../data_batch_1"), "unknown member"),
        (tarfile.TarInfo(f"{FOLDER}/extra.py"), "unknown member"),
        (tarfile.TarInfo(f"{FOLDER}/data_batch_1"), "occurs twice"),
        (link(f"{FOLDER}/readme.html", tarfile.SYMTYPE), "no plain file"),
        (link(f"{FOLDER}/readme.html", tarfile.LNKTYPE), "no plain file"),
        (link(f"{FOLDER}/readme.html", tarfile.CHRTYPE), "no plain file"),
    ],
)
def test_refuses_foreign_members_by_name(path, extra, message):
    with pytest.raises(BenchmarkError, match=message):
        read_archive(write(path, official(), extra=[extra]))


@pytest.mark.fault("hostile archives", "refused")
def test_refuses_a_member_that_declares_gigabytes_before_reading_it(path):
    header = tarfile.TarInfo(f"{FOLDER}/data_batch_1")
    header.size = 2 * 2**30
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf() + b"\0" * 4096)
    with pytest.raises(BenchmarkError, match="declares 2147483648 bytes"):
        read_archive(path)


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_refuses_a_bomb_in_a_header_before_reading_it(path, kind):
    """A kilobyte or so of gzip that tarfile would read into memory as a gigabyte."""
    header = tarfile.TarInfo("bomb")
    header.type, header.size = kind, 2**30
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.write(b"\0" * 2**20)
    with pytest.raises(BenchmarkError, match="extended header of 1073741824 bytes"):
        read_archive(path)


def test_reads_the_small_headers_that_other_programs_write(path):
    """The attributes that macOS' tar and Python's own add to a member whose time has a fraction."""
    members = official()
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"{FOLDER}/{name}")
            member.size, member.mtime = len(content), 1.5
            archive.addfile(member, io.BytesIO(content))
    assert len(read_archive(path).train.labels) == 20


@pytest.mark.fault("hostile archives", "refused")
def test_names_a_missing_member(path):
    members = official()
    del members["data_batch_5"]
    with pytest.raises(BenchmarkError, match="'cifar-10-batches-py/data_batch_5' is missing"):
        read_archive(write(path, members))


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize("tenth", range(1, 10))
def test_refuses_a_truncated_archive_wherever_it_ends(archive, path, tenth):
    whole = archive.read_bytes()
    path.write_bytes(whole[: len(whole) * tenth // 10])
    with pytest.raises(BenchmarkError, match="truncated or damaged|not a gzip"):
        read_archive(path)


@pytest.mark.fault("hostile archives", "refused")
def test_refuses_a_damaged_archive(archive, path):
    damaged = bytearray(archive.read_bytes())
    damaged[len(damaged) // 2] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(BenchmarkError, match=r"archive\.tar\.gz|member 'data_batch"):
        read_archive(path)


@pytest.mark.fault("hostile archives", "refused")
@pytest.mark.parametrize(
    "content",
    [b"", b"<html>log in</html>", gzip.compress(b"no tar inside" * 100, mtime=0)],
    ids=["empty", "login page", "gzip of something else"],
)
def test_refuses_what_is_no_archive(path, content):
    path.write_bytes(content)
    with pytest.raises(BenchmarkError, match=r"truncated or damaged|not a gzip|is missing"):
        read_archive(path)
