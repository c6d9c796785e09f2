"""One archive from several servers: bounded, resumed, and refused where it is not what it should be."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import requests
from tqdm import tqdm

from epochbench.errors import BenchmarkError
from epochbench.files import digest_of

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


class UnreachableError(BenchmarkError):
    """Nobody delivered the archive: no network, or no server that has it."""


class Download:
    """One archive fetched from several servers, each going on where the one before it stopped."""

    def __init__(self, partial: Path, patience: Patience, console: TextIO | None):
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


def verify(path: Path, algorithm: str, digest: str, origin: str) -> None:
    """Compare a file with its checksum; a file that differs is removed, so that the next try begins anew."""
    actual = digest_of(path, algorithm)
    if actual != digest.lower():
        path.unlink()
        raise BenchmarkError(f"{origin}: its {algorithm} is {actual}, but should be {digest.lower()}; refused")
