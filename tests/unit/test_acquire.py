import hashlib
import io
import json
from types import SimpleNamespace

import pytest
from unit.server import serving

from epochbench import datasets
from epochbench.acquire.acquire import Wanted, acquire
from epochbench.acquire.download import Patience
from epochbench.acquire.synthetic import Synthetic
from epochbench.datasets import cifar10
from epochbench.datasets.cifar10 import read_archive
from epochbench.errors import BenchmarkError

HASTE = Patience(connect=0.5, stall=0.5, unreachable=1.0, back_off=0.01, attempts=3)
LITTLE = Synthetic(images_per_batch=10)


@pytest.fixture(scope="module")
def content(archive):
    return archive.read_bytes()


@pytest.fixture
def site(content):
    with serving(content) as site:
        yield site


def fetch(site, tmp_path, content, patience=HASTE, **wanted):
    plan = {"archive": site.url(), "sha256": hashlib.sha256(content).hexdigest(), "when_unreachable": "fail"}
    console = io.StringIO()
    manifest = acquire(Wanted(**(plan | {"synthetic": LITTLE} | wanted)), tmp_path / "d.tar.gz", console, patience)
    return manifest, console.getvalue()


def test_the_address_and_checksum_are_torchvisions_own():
    from torchvision.datasets import CIFAR10

    assert (datasets.File(CIFAR10.url, CIFAR10.tgz_md5),) == cifar10.FILES


def test_downloads_and_says_where_from(site, tmp_path, content):
    manifest, _ = fetch(site, tmp_path, content)
    assert (tmp_path / "d.tar.gz").read_bytes() == content
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert manifest["origin"] == site.url()
    assert manifest["synthetic"] is False
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.tar.gz", "manifest.json"]


@pytest.mark.fault("network", "survived")
@pytest.mark.parametrize("fault", ["truncates once", "stalls once", "busy once"])
def test_goes_on_where_a_broken_download_stopped(site, tmp_path, content, fault):
    site.behaviour = fault
    fetch(site, tmp_path, content)
    assert (tmp_path / "d.tar.gz").read_bytes() == content
    if fault != "busy once":
        first, second = site.requests
        assert first is None
        assert 0 < int(second.removeprefix("bytes=").rstrip("-")) <= len(content) // 3


@pytest.mark.fault("network", "survived")
def test_begins_anew_where_the_server_cannot_continue(site, tmp_path, content):
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"d.tar.gz.{digest[:16]}.part").write_bytes(content[:1000])
    site.behaviour = "good no range"
    fetch(site, tmp_path, content)
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "survived")
def test_continues_the_download_of_an_earlier_process(site, tmp_path, content):
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"d.tar.gz.{digest[:16]}.part").write_bytes(content[:1000])
    fetch(site, tmp_path, content)
    assert site.requests == ["bytes=1000-"]
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "survived")
def test_a_wrong_beginning_from_an_earlier_process_is_thrown_away(site, tmp_path, content):
    digest = hashlib.sha256(content).hexdigest()
    (tmp_path / f"d.tar.gz.{digest[:16]}.part").write_bytes(b"\x1f\x8b" + b"x" * 998)
    fetch(site, tmp_path, content)
    assert site.requests == ["bytes=1000-", None]
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "refused")
def test_a_wrong_checksum_is_refused_with_both(site, tmp_path, content):
    site.behaviour = "lies"
    with pytest.raises(BenchmarkError, match="its sha256 is") as refusal:
        fetch(site, tmp_path, content, when_unreachable="synthetic")
    lie = hashlib.sha256(content[:-10] + b"0123456789").hexdigest()
    assert lie in str(refusal.value)
    assert hashlib.sha256(content).hexdigest() in str(refusal.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("network", "survived")
@pytest.mark.parametrize("fault", ["lies", "missing", "html", "disguised", "loops", "huge", "busy", "truncates"])
def test_a_mirror_helps_whatever_is_wrong_with_the_first(site, tmp_path, content, fault):
    site.behaviour = fault
    with serving(content) as mirror:
        manifest, _ = fetch(site, tmp_path, content, mirrors=(mirror.url(),))
    assert manifest["origin"] == mirror.url()
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "refused")
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("html", "web page .* login"),
        ("disguised", "no gzip archive"),
        ("missing", "answers 404"),
        ("busy", "answers 503"),
        ("loops", "redirects without end"),
        ("huge", "over the limit"),
        ("silent", "no answer in time|stalled"),
    ],
)
def test_without_an_archive_fail_names_the_cause_and_three_ways_on(site, tmp_path, content, fault, words):
    site.behaviour = fault
    with pytest.raises(BenchmarkError, match=words) as refusal:
        fetch(site, tmp_path, content)
    for way in ("dataset='{archive: PATH", "dataset.mirrors", "source: synthetic"):
        assert way in str(refusal.value)


@pytest.mark.fault("network", "refused")
def test_the_stand_in_for_one_data_set_does_not_stand_for_another(site, tmp_path, content, monkeypatch):
    monkeypatch.setattr(
        datasets, "load", lambda name: SimpleNamespace(TITLE="Other", FILES=(datasets.File(site.url(), "0" * 32),))
    )
    site.behaviour = "missing"
    with pytest.raises(BenchmarkError, match=r"(?s)answers 404.*Three ways on"):
        fetch(site, tmp_path, content, source="other", archive="", sha256="", when_unreachable="synthetic")
    assert not (tmp_path / "d.tar.gz").exists()


@pytest.mark.fault("network", "survived")
@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9/a.tar.gz", "http://epochbench.invalid/a.tar.gz", "http://127.0.0.1:99999/a"]
)
def test_without_network_the_labelled_stand_in_is_made(site, tmp_path, content, address):
    manifest, said = fetch(site, tmp_path, content, archive=address, when_unreachable="synthetic")
    assert manifest["synthetic"] is True
    assert manifest["name"] == "synthetic stand-in, seed 2021"
    assert "Making the synthetic stand-in" in said
    assert len(read_archive(tmp_path / "d.tar.gz").train.labels) == 50


@pytest.mark.fault("network", "survived")
@pytest.mark.parametrize("tenths", range(10))
def test_goes_on_wherever_the_connection_was_cut(site, tmp_path, content, tenths):
    site.behaviour, site.tenths = "cut once", tenths
    fetch(site, tmp_path, content)
    assert (tmp_path / "d.tar.gz").read_bytes() == content
    assert len(site.requests) == 2


@pytest.mark.fault("network", "survived")
def test_a_slow_server_is_waited_for(site, tmp_path, content):
    site.behaviour = "drips"
    fetch(site, tmp_path, content)
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "refused")
def test_more_than_the_archive_is_refused(site, tmp_path, content):
    site.behaviour = "longer"
    with pytest.raises(BenchmarkError, match="sha256"):
        fetch(site, tmp_path, content)
    assert not (tmp_path / "d.tar.gz").exists()


@pytest.mark.fault("network", "survived")
def test_a_proxy_is_used_where_the_environment_names_one(site, tmp_path, content, monkeypatch):
    monkeypatch.setenv("http_proxy", site.url(""))
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    fetch(site, tmp_path, content, archive="http://epochbench.invalid/a.tar.gz")
    assert (tmp_path / "d.tar.gz").read_bytes() == content


@pytest.mark.fault("network", "refused")
def test_a_proxy_that_is_not_there_is_named(site, tmp_path, content, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(BenchmarkError, match="proxy"):
        fetch(site, tmp_path, content, archive="http://epochbench.invalid/a.tar.gz")


def test_source_synthetic_asks_no_server(site, tmp_path, content):
    manifest, _ = fetch(site, tmp_path, content, source="synthetic", archive="", sha256="")
    assert manifest["synthetic"] is True
    assert site.requests == []


def test_copies_and_verifies_a_local_archive(site, tmp_path, archive, content):
    manifest, _ = fetch(site, tmp_path, content, archive=str(archive))
    assert manifest["name"] == archive.name
    assert (tmp_path / "d.tar.gz").read_bytes() == content
    with pytest.raises(BenchmarkError, match=f"should be {'0' * 64}"):
        fetch(site, tmp_path, content, archive=str(archive), sha256="0" * 64)
    with pytest.raises(BenchmarkError, match="No such file"):
        fetch(site, tmp_path, content, archive=str(tmp_path / "nowhere"))
    assert archive.exists()
