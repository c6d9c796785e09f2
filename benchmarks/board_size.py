"""How long does a board of 10, 100 and 1,000 exports take, how much memory, how large is its page, how soon is it open?

One real export is copied under other names with other machines and other times, everything that depends on them changed
alike and sealed anew; every tenth copy has other images. Each size is built in a process of its own, on two cores;
memory is that of all its processes together, at the most. CPU seconds are those of all processes: on a busy machine
they tell what the wall clock does not. The page is opened in Chromium, where playwright and Chromium are there. Ratios
are to the smallest size. Bars: 1,000 exports in under 60 s and 1 GiB, the page under 4 MB and open in under 2 s.

Usage: python benchmarks/board_size.py EXPORT.zip
"""

import dataclasses
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts"
SIZES = (10, 100, 1_000)
PROCESSES = 2

WORK = f"""
import resource, sys
from epochbench.aggregate.board import find_exports, read_board
from epochbench.aggregate.settings import Settings
from epochbench.report.board import write_board
board = read_board(find_exports([sys.argv[1]]), Settings(), frozenset(), {PROCESSES})
assert not board.refused, board.refused[0]
write_board(board, sys.argv[2])
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
print(sum(each.ru_utime + each.ru_stime for each in used))
"""


def copies(source: str, count: int, folder: Path) -> None:
    """Write so many exports, each a machine of its own, with times that differ from copy to copy."""
    from epochbench.records.exchange import read_export, write_export

    records, chance = read_export(source).records, random.Random(1)
    for number in range(count):
        speed = chance.lognormvariate(0, 1)
        changed = [doctored(record, number, speed) for record in records]
        write_export(changed, folder / f"machine-{number}.zip", "2026-01-01T00:00:00+00:00")


def doctored(record, number: int, factor: float):
    """Return a record as a machine so many times slower would have written it: every time longer, every peak lower."""
    from epochbench.timing.record import seal

    machine = record.machine
    gpu = dataclasses.replace(machine.gpu, name=f"NVIDIA H{number % 300}") if machine.gpu else None
    fingerprint = hashlib.sha256(f"{machine.fingerprint} {number}".encode()).hexdigest()[:16]
    changes = {
        "machine": dataclasses.replace(machine, fingerprint=fingerprint, node=f"node{number}", gpu=gpu),
        "timing": scaled(record.timing, factor, 1 / factor),
        "evidence": scaled(record.evidence, factor),
        "conditions": scaled(record.conditions, factor),
        "tries": [scaled(one, factor, 1 / factor) for one in record.tries],
        "protocol": scaled(record.protocol, factor),
        "peaks": scaled(record.peaks, factor, 1 / factor),
        "wall_seconds": record.wall_seconds * factor,
    }
    if number % 10 == 0:
        other = hashlib.sha256(str(number % 50).encode()).hexdigest()
        changes["dataset"] = dataclasses.replace(record.dataset, fingerprint=other, name=f"images {number % 50}")
    return seal(dataclasses.replace(record, **changes))


def scaled(part, factor: float, rate: float = 1.0):
    """Return a part of a record with its seconds and joules times a factor, and what is per second times the other."""
    if part is None:
        return None
    changed = {}
    for field in dataclasses.fields(part):
        value, by = getattr(part, field.name), rate if "_per_second" in field.name else factor
        if value is None or not ("_per_second" in field.name or field.name.endswith(("_seconds", "_joules"))):
            continue
        if isinstance(value, dict):
            changed[field.name] = {key: each * by for key, each in value.items()}
        else:
            changed[field.name] = [each * by for each in value] if isinstance(value, list) else value * by
    return dataclasses.replace(part, **changed)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return its seconds, the CPU seconds that it prints, and the most memory of its processes, MiB."""
    started, most = time.perf_counter(), [0]
    process = psutil.Popen(command, env=os.environ | {"PYTHONPATH": str(PACKAGE)}, stdout=subprocess.PIPE, text=True)

    def watch() -> None:
        while process.poll() is None:
            most[0] = max(most[0], memory_of(process))
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    status = process.wait()
    watcher.join()
    if status:
        sys.exit(f"the board failed with status {status}")
    return time.perf_counter() - started, float(process.stdout.read()), most[0] / 2**20


def memory_of(process: psutil.Process) -> int:
    """Return the resident memory of a process and its children; what they share counts for each."""
    total = 0
    for each in [process, *children_of(process)]:
        try:
            total += each.memory_info().rss
        except psutil.Error:
            continue
    return total


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def seconds_to_open(page: Path) -> float | None:
    """Return how long Chromium takes until the page is laid out and its script has run; None without Chromium."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return None
    if chromium is None:
        return None
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto("about:blank")
        started = time.perf_counter()
        tab.goto(page.as_uri())
        # A frame is drawn, after layout.
        tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        return time.perf_counter() - started


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.path.insert(0, str(PACKAGE))
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:PROCESSES])
    first = None
    print(f"{'exports':>8} {'seconds':>8} {'ratio':>6} {'CPU s':>6} {'MiB':>6} {'page MB':>8} {'opens in s':>11}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            exports = Path(folder, "exports")
            exports.mkdir()
            copies(sys.argv[1], size, exports)
            seconds, used, memory = measured([sys.executable, "-c", WORK, str(exports), folder])
            page = Path(folder, "board.html")
            first, opened = first or seconds, seconds_to_open(page)
            shown = "unknown" if opened is None else f"{opened:.2f}"
            ratio, megabytes = seconds / first, page.stat().st_size / 1e6
            print(
                f"{size:>8,} {seconds:>8.1f} {ratio:>6.1f} {used:>6.1f} {memory:>6.0f} {megabytes:>8.2f} {shown:>11}",
                flush=True,
            )
            if keep := os.environ.get("BOARD_KEEP"):
                shutil.copy(page, keep)


if __name__ == "__main__":
    main()
