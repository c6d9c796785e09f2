"""Get an archive and verify it: from the internet, from a local path, or made here."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from epochbench import datasets
from epochbench.acquire.download import Download, Patience, UnreachableError, verify
from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.archive import PACKED, PLAN, add, packed
from epochbench.errors import BenchmarkError
from epochbench.files import digest_of, is_url, write_json


@dataclass(frozen=True)
class Wanted:
    """What to acquire: where it lies, the checksum it must have, and what to do when nobody answers.

    Of several files, `archive` is the folder or the address that they lie in, `sha256` has a checksum for each, and a
    mirror is such an address too. `plan` has the settings of a data set without files, None where there are files.
    """

    source: str = "cifar10"
    archive: str = ""
    sha256: str = ""
    mirrors: tuple[str, ...] = ()
    when_unreachable: str = "synthetic"
    synthetic: Synthetic = field(default_factory=Synthetic)
    plan: dict | None = None


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
    if wanted.plan is not None:
        manifest = _write_plan(wanted, destination)
    elif wanted.source == datasets.SYNTHETIC:
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


def _write_plan(wanted: Wanted, destination: Path) -> dict:
    """Write which images are meant; the stage shard makes them, or reads them where they lie."""
    plan = datasets.load(wanted.source).plan(wanted.plan)
    with _arriving(destination) as partial, packed(partial) as archive:
        add(archive, f"{PACKED}/{PLAN}", json.dumps(plan).encode())
    return {
        "name": plan["name"],
        "synthetic": wanted.source == datasets.SYNTHETIC,
        "layout": wanted.source,
        "reason": "asked for by dataset.source",
        "origin": plan.get("root", "epochbench"),
        **_identity(destination),
    }


@dataclass(frozen=True)
class _Part:
    """One of the files that a data set consists of: its name, where it may lie, and its checksum."""

    name: str
    places: tuple[str, ...]
    algorithm: str
    digest: str


def _parts(wanted: Wanted) -> list[_Part]:
    """Return the files that are wanted: the official ones, or those that `dataset.archive` has instead."""
    files = datasets.load(wanted.source).FILES
    checksums = [("sha256", each) for each in wanted.sha256.split()] or [("md5", each.md5) for each in files]
    if len(checksums) != len(files):
        names = ", ".join(file.name for file in files)
        raise BenchmarkError(
            f"dataset.sha256: has {len(checksums)} checksums, but {wanted.source} consists of {names}; name one for "
            "each, in this order, with a space between"
        )
    if len(files) == 1:
        places = [(wanted.archive or files[0].url, *wanted.mirrors)]
    else:
        bases = (wanted.archive, *wanted.mirrors) if wanted.archive else wanted.mirrors
        own = [tuple(f"{base.rstrip('/')}/{file.name}" for base in bases) for file in files]
        places = own if wanted.archive else [(file.url, *others) for file, others in zip(files, own, strict=True)]
    return [_Part(file.name, each, *checksum) for file, each, checksum in zip(files, places, checksums, strict=True)]


def _copy_local(wanted: Wanted, destination: Path) -> dict:
    source, parts = Path(wanted.archive).expanduser(), _parts(wanted)
    with contextlib.ExitStack() as stack:
        partials: list[Path] = []
        for number, part in enumerate(parts):
            place = Path(part.places[0]).expanduser()
            partials.append(stack.enter_context(_temporary(destination.with_name(f"{destination.name}.{number}"))))
            try:
                shutil.copyfile(place, partials[-1])
            except OSError as error:
                raise BenchmarkError(f"dataset.archive: {place}: {error.strerror}; name a readable file") from error
            verify(partials[-1], part.algorithm, part.digest, str(place))
        _join(parts, partials, destination)
    return {
        "name": source.name,
        "synthetic": False,
        "layout": wanted.source,
        "reason": "named by dataset.archive",
        "origin": source.name,
        **_identity(destination),
    }


def _join(parts: list[_Part], arrived: list[Path], destination: Path) -> None:
    """Put one verified file at the destination, or pack several into one archive there; the files go."""
    if len(parts) == 1:
        arrived[0].replace(destination)
        return
    with _arriving(destination) as partial, packed(partial) as archive:
        for part, path in zip(parts, arrived, strict=True):
            add(archive, f"{PACKED}/{part.name}", path.read_bytes())
    for path in arrived:
        path.unlink()


def _download(wanted: Wanted, destination: Path, console: TextIO | None, patience: Patience) -> dict:
    """Download every file; what has arrived whole is not lost where another one fails."""
    parts = _parts(wanted)
    arrived = [destination.with_name(f"{destination.name}.{part.digest[:16]}.part") for part in parts]
    urls = [_fetch_part(part, Download(path, patience, console)) for part, path in zip(parts, arrived, strict=True)]
    _join(parts, arrived, destination)
    # Of several files, the address that they lie in.
    origins = urls if len(urls) == 1 else dict.fromkeys(url.rpartition("/")[0] for url in urls)
    return {
        "name": datasets.load(wanted.source).TITLE if not wanted.archive else _last_part(next(iter(origins))),
        "synthetic": False,
        "layout": wanted.source,
        "reason": "downloaded",
        "origin": ", ".join(origins),
        **_identity(destination),
    }


def _last_part(url: str) -> str:
    return url.rpartition("/")[2] or url


def _fetch_part(part: _Part, download: Download) -> str:
    """Fetch a file from the first place that delivers it, and return that place."""
    mismatches, failures = [], []
    for url in part.places:
        try:
            _fetch_verified(download, url, part.algorithm, part.digest)
            return url
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
    with _temporary(destination) as partial:
        yield partial
        partial.replace(destination)


@contextlib.contextmanager
def _temporary(destination: Path) -> Iterator[Path]:
    """Give a temporary name beside the destination; nothing is left there."""
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)
