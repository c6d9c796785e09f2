"""Get an archive and verify it: from the internet, from a local path, or made here."""

import contextlib
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests
from tqdm import tqdm

from epochbench.config import is_url
from epochbench.errors import BenchmarkError
from epochbench.record import write_json
from epochbench.synthetic import Synthetic, write_archive

# torchvision.datasets.CIFAR10.url and .tgz_md5, copied so that the download needs no torch; a test compares them.
OFFICIAL_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
OFFICIAL_MD5 = "c58f30108f718f92721af3b95e74349a"
MAX_ARCHIVE_BYTES = 2**30
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 2**18


@dataclass(frozen=True)
class Patience:
    """How long to try, in seconds. Without any answer, everything together ends after `unreachable`.

    A server that has answered is tried again more often than one of which nothing was ever heard.
    """

    connect: float = 4.0
    stall: float = 20.0
    unreachable: float = 13.0
    back_off: float = 1.0
    attempts: int = 5
    unanswered_attempts: int = 3


@dataclass(frozen=True)
class Wanted:
    """What to acquire: where it lies, the checksum it must have, and what to do when nobody answers."""

    source: str = "cifar10"
    archive: str = ""
    sha256: str = ""
    mirrors: tuple[str, ...] = ()
    when_unreachable: str = "synthetic"
    synthetic: Synthetic = field(default_factory=Synthetic)


class UnreachableError(BenchmarkError):
    """Nobody delivered the archive: no network, or no server that has it."""


def acquire(wanted: Wanted, destination, console=None, patience: Patience | None = None) -> dict:
    """Put the wanted archive at `destination`, verified, with manifest.json beside it; return the manifest.

    Raises BenchmarkError where the archive cannot be had and no stand-in is allowed, or where what was delivered has
    another checksum than it should.
    """
    destination = Path(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    if wanted.source == "synthetic":
        manifest = _make_synthetic(wanted.synthetic, destination, "asked for by dataset.source")
    elif wanted.archive and not is_url(wanted.archive):
        manifest = _copy_local(wanted, destination)
    else:
        manifest = _download_or_stand_in(wanted, destination, console, patience or Patience())
    write_json(destination.with_name("manifest.json"), manifest)
    return manifest


def _download_or_stand_in(wanted: Wanted, destination: Path, console, patience: Patience) -> dict:
    try:
        return _download(wanted, destination, console, patience)
    except UnreachableError as error:
        if wanted.when_unreachable == "fail":
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
        _check(partial, "sha256", wanted.sha256, str(source))
    return {
        "name": source.name,
        "synthetic": False,
        "reason": "named by dataset.archive",
        "origin": source.name,
        **_identity(destination),
    }


def _download(wanted: Wanted, destination: Path, console, patience: Patience) -> dict:
    first = wanted.archive or OFFICIAL_URL
    algorithm, digest = ("sha256", wanted.sha256) if wanted.sha256 else ("md5", OFFICIAL_MD5)
    partial = destination.with_name(f"{destination.name}.{digest[:16]}.part")
    download = _Download(partial, patience, console)
    mismatches, failures = [], []
    for url in (first, *wanted.mirrors):
        try:
            _fetch_verified(download, url, algorithm, digest)
            partial.replace(destination)
            name = "CIFAR-10" if not wanted.archive else url.rpartition("/")[2] or url
            origin = {"name": name, "synthetic": False, "reason": "downloaded", "origin": url}
            return {**origin, **_identity(destination)}
        except UnreachableError as error:
            failures.append(str(error))
        except BenchmarkError as error:
            mismatches.append(str(error))
    if mismatches:
        raise BenchmarkError("\n".join(mismatches + failures))
    raise UnreachableError("\n".join(failures))


def _fetch_verified(download: "_Download", url: str, algorithm: str, digest: str) -> None:
    """Fetch and verify; where a continued download turns out wrong, once more from its first byte."""
    continued = download.partial.exists()
    download.fetch(url)
    try:
        _check(download.partial, algorithm, digest, url)
    except BenchmarkError:
        if not continued:
            raise
        download.fetch(url)
        _check(download.partial, algorithm, digest, url)


class _Download:
    """One archive fetched from several servers, each going on where the one before it stopped."""

    def __init__(self, partial: Path, patience: Patience, console):
        self.partial = partial
        self.patience = patience
        self.console = console
        self.started = time.monotonic()
        self.answered = False

    def fetch(self, url: str) -> None:
        """Fetch one address into the partial file. Raises UnreachableError after the attempts are used up."""
        failed_in_a_row = 0
        while True:
            before = self._size()
            try:
                self._transfer(url)
                return
            except (requests.RequestException, OSError) as error:
                problem = f"{url}: {_plain(error)}"
            failed_in_a_row = 1 if self._size() > before else failed_in_a_row + 1
            pause = self.patience.back_off * 2 ** (failed_in_a_row - 1)
            attempts = self.patience.attempts if self.answered else self.patience.unanswered_attempts
            if failed_in_a_row >= attempts or self._seconds_left() <= pause:
                raise UnreachableError(problem)
            print(f"{problem}; trying again in {pause:.0f} s", file=self.console)
            time.sleep(pause)

    def _transfer(self, url: str) -> None:
        """Append what is missing to the partial file, or begin anew where the server cannot continue."""
        have = self._size()
        response = self._open(url, have)
        with response:
            if response.status_code == 416:  # nothing left to send: the file is whole, or not ours
                return
            _require_archive(response, url)
            resumed = response.status_code == 206
            expected = (have if resumed else 0) + int(response.headers.get("Content-Length", 0))
            if expected > MAX_ARCHIVE_BYTES:
                raise UnreachableError(f"{url}: offers {expected} bytes, over the limit of {MAX_ARCHIVE_BYTES}")
            with self.partial.open("ab" if resumed else "wb") as file:
                self._copy(response, file, expected, url)
        if expected and self._size() < expected:
            raise requests.ConnectionError(f"ended after {self._size()} of {expected} bytes")

    def _copy(self, response, file, expected: int, url: str) -> None:
        options = {"unit": "B", "unit_scale": True, "unit_divisor": 1024, "mininterval": 0.5}
        with tqdm(total=expected or None, initial=file.tell(), desc="acquire", file=self.console, **options) as bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                if file.tell() == 0 and not chunk.startswith(GZIP_MAGIC):
                    raise UnreachableError(f"{url}: answered with something that is no gzip archive ({chunk[:40]!r})")
                file.write(chunk)
                bar.update(len(chunk))
                if file.tell() > MAX_ARCHIVE_BYTES:
                    raise UnreachableError(f"{url}: sends more than {MAX_ARCHIVE_BYTES} bytes")

    def _open(self, url: str, have: int) -> requests.Response:
        """Ask for the bytes from `have` on; a name server that hangs counts against the time without an answer."""
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        timeout = (self.patience.connect, self.patience.stall)
        if self.answered:
            return requests.get(url, headers=headers, stream=True, timeout=timeout)
        response = _within(
            self._seconds_left(), lambda: requests.get(url, headers=headers, stream=True, timeout=timeout)
        )
        self.answered = response.ok
        return response

    def _seconds_left(self) -> float:
        """Return how long we go on without an answer; once somebody has answered there is no such limit."""
        return float("inf") if self.answered else self.patience.unreachable - (time.monotonic() - self.started)

    def _size(self) -> int:
        return self.partial.stat().st_size if self.partial.exists() else 0


def _within(seconds: float, call: Callable):
    """Return what a call returns, or raise ConnectionError if it takes longer: name look-ups know no timeout."""
    outcome = []

    def run():
        try:
            outcome.append((call(), None))
        except BaseException as error:  # handed over to the caller's thread, whatever it is
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(max(0.1, seconds))
    if not outcome:
        raise requests.ConnectionError("no answer in time")
    result, error = outcome[0]
    if error:
        raise error
    return result


def _require_archive(response: requests.Response, url: str) -> None:
    if response.status_code == 429 or response.status_code >= 500:
        raise requests.HTTPError(f"the server answers {response.status_code} {response.reason}")
    if response.status_code not in (200, 206):
        raise UnreachableError(f"{url}: the server answers {response.status_code} {response.reason}")
    kind = response.headers.get("Content-Type", "")
    if kind.startswith("text/html"):
        raise UnreachableError(f"{url}: answered with a web page ({kind}), perhaps a login page of this network")


def _plain(error: Exception) -> str:
    """Put a network error in a few words; requests nests them four deep."""
    words = {
        requests.exceptions.ConnectTimeout: "no connection in time",
        requests.exceptions.ReadTimeout: "the server stalled",
        requests.exceptions.TooManyRedirects: "redirects without end",
        requests.exceptions.ProxyError: "the proxy refused",
        requests.exceptions.SSLError: "no trustworthy certificate",
        requests.exceptions.InvalidURL: "not a valid address",
    }
    for kind, text in words.items():
        if isinstance(error, kind):
            return text
    text = str(error)
    if "NameResolution" in text or "resolve" in text:
        return "its name cannot be resolved (no network?)"
    return "connection refused" if "refused" in text else text.splitlines()[0][:160]


def _check(path: Path, algorithm: str, digest: str, origin: str) -> None:
    """Compare a file with its checksum; a file that differs is removed, so that the next try begins anew."""
    found = _digest(path, algorithm)
    if found != digest.lower():
        path.unlink()
        raise BenchmarkError(f"{origin}: its {algorithm} is {found}, but should be {digest.lower()}; refused")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, algorithm).hexdigest()


def _identity(path: Path) -> dict:
    return {"sha256": _digest(path, "sha256"), "bytes": path.stat().st_size}


@contextlib.contextmanager
def _arriving(destination: Path):
    """Give a temporary name beside the destination, and rename it there if all goes well."""
    partial = destination.with_name(f".{destination.name}.{os.getpid()}.tmp")
    try:
        yield partial
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)
