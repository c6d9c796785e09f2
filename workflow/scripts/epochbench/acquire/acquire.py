"""Get an archive and verify it: from the internet, from a local path, or made here."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from epochbench import datasets
from epochbench.acquire.download import Download, Patience, UnreachableError, verify
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.errors import BenchmarkError
from epochbench.files import digest_of, is_url, write_json


@dataclass(frozen=True)
class Wanted:
    """What to acquire: where it lies, the checksum it must have, and what to do when nobody answers."""

    source: str = "cifar10"
    archive: str = ""
    sha256: str = ""
    mirrors: tuple[str, ...] = ()
    when_unreachable: str = "synthetic"
    synthetic: Synthetic = field(default_factory=Synthetic)


def acquire(
    wanted: Wanted, destination: str | Path, console: TextIO | None = None, patience: Patience | None = None
) -> dict:
    """Put the wanted archive at `destination`, verified, with manifest.json beside it; return the manifest.

    The manifest's `layout` names the file of datasets/ that reads the archive.

    Raises BenchmarkError where the archive cannot be had and no stand-in is allowed, or where what was delivered has
    another checksum than it should.
    """
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    if wanted.source == datasets.SYNTHETIC:
        manifest = _make_synthetic(wanted.synthetic, destination, "asked for by dataset.source")
    elif wanted.archive and not is_url(wanted.archive):
        manifest = _copy_local(wanted, destination)
    else:
        manifest = _download_or_stand_in(wanted, destination, console, patience or Patience())
    write_json(destination.with_name("manifest.json"), manifest)
    return manifest


def _download_or_stand_in(wanted: Wanted, destination: Path, console: TextIO | None, patience: Patience) -> dict:
    try:
        return _download(wanted, destination, console, patience)
    except UnreachableError as error:
        # The stand-in for one data set must not stand for another.
        if wanted.when_unreachable == "fail" or wanted.source != datasets.STAND_IN_LAYOUT:
            raise BenchmarkError(f"{error}\n{WAYS_ON}") from error
        print(f"{error}\nMaking the synthetic stand-in; every result will say so.", file=console)
        return _make_synthetic(wanted.synthetic, destination, "the archive could not be reached")


WAYS_ON = """Three ways on:
  1. fetch the archive on a machine with internet and name it: --config dataset='{archive: PATH, sha256: SHA256}'
  2. name a server that this machine can reach in dataset.mirrors, or set the proxy variables (https_proxy)
  3. train on the labelled stand-in: --config dataset='{source: synthetic}'"""


def _make_synthetic(plan: Synthetic, destination: Path, reason: str) -> dict:
    with _arriving(destination) as partial:
        write_archive(partial, plan)
    return {
        "name": f"synthetic stand-in, seed {plan.seed}",
        "synthetic": True,
        "layout": datasets.STAND_IN_LAYOUT,
        "reason": reason,
        "origin": f"epochbench, {plan.images_per_batch} images a batch, seed {plan.seed}",
        **_identity(destination),
    }


def _copy_local(wanted: Wanted, destination: Path) -> dict:
    source = Path(wanted.archive).expanduser()
    with _arriving(destination) as partial:
        try:
            shutil.copyfile(source, partial)
        except OSError as error:
            raise BenchmarkError(f"dataset.archive: {source}: {error.strerror}; name a readable file") from error
        verify(partial, "sha256", wanted.sha256, str(source))
    return {
        "name": source.name,
        "synthetic": False,
        "layout": wanted.source,
        "reason": "named by dataset.archive",
        "origin": source.name,
        **_identity(destination),
    }


def _download(wanted: Wanted, destination: Path, console: TextIO | None, patience: Patience) -> dict:
    official = datasets.load(wanted.source)
    first = wanted.archive or official.URL
    algorithm, digest = ("sha256", wanted.sha256) if wanted.sha256 else ("md5", official.MD5)
    partial = destination.with_name(f"{destination.name}.{digest[:16]}.part")
    download = Download(partial, patience, console)
    mismatches, failures = [], []
    for url in (first, *wanted.mirrors):
        try:
            _fetch_verified(download, url, algorithm, digest)
            partial.replace(destination)
            name = official.TITLE if not wanted.archive else url.rpartition("/")[2] or url
            layout = wanted.source
            origin = {"name": name, "synthetic": False, "layout": layout, "reason": "downloaded", "origin": url}
            return {**origin, **_identity(destination)}
        except UnreachableError as error:
            failures.append(str(error))
        except BenchmarkError as error:
            mismatches.append(str(error))
    if mismatches:
        raise BenchmarkError("\n".join(mismatches + failures))
    raise UnreachableError("\n".join(failures))


def _fetch_verified(download: Download, url: str, algorithm: str, digest: str) -> None:
    """Fetch and verify; where a continued download turns out wrong, once more from its first byte."""
    continued = download.partial.exists()
    download.fetch(url)
    try:
        verify(download.partial, algorithm, digest, url)
    except BenchmarkError:
        if not continued:
            raise
        download.fetch(url)
        verify(download.partial, algorithm, digest, url)


def _identity(path: Path) -> dict:
    return {"sha256": digest_of(path, "sha256"), "bytes": path.stat().st_size}


@contextlib.contextmanager
def _arriving(destination: Path) -> Iterator[Path]:
    """Give a temporary name beside the destination, and rename it there if all goes well."""
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        yield partial
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
