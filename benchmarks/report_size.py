"""How long do tables, figure and page take for 10, 1,000 and 10,000 records, and how much memory?

Records of one real run are copied under other names with other times, written, read, validated and drawn, each size in
a process of its own. Ratios are to the smallest size. Bars: 10,000 records in under 15 s and under 1 GiB, and the page
of 200 cells under 4 MB.

Usage: python benchmarks/report_size.py RECORD.json
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts"
SIZES = (10, 1_000, 10_000)
RUNS = 50

WORK = """
import json, random, resource, sys, time
from dataclasses import replace
from pathlib import Path
from epochbench.records.store import read_record, write_record
from epochbench.timing.record import seal
source, count, runs, folder = read_record(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
chance, paths = random.Random(1), []
for number in range(count):
    cell, run = divmod(number, min(runs, max(1, count // 5)))
    name = "cpu-reference" if cell == 0 else f"cpu-{cell}"
    seconds = [chance.uniform(1, 1.1) * (1 + cell) for _ in source.timing.epoch_seconds]
    timing = replace(source.timing, epoch_seconds=seconds)
    paths.append(folder / name / f"run-{run + 1}.json")
    write_record(paths[-1], seal(replace(source, cell=replace(source.cell, cell=name), run=run + 1, timing=timing)))
from epochbench.aggregate.settings import Settings
from epochbench.report.report import Places, report
started = time.perf_counter()
places = Places([str(path) for path in paths], [], sys.argv[5], str(folder / "tables"), str(folder / "report"))
report(places, Settings(), [])
seconds = time.perf_counter() - started
size = (folder / "report" / "index.html").stat().st_size
print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, size / 2**20]))
"""


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    published = PACKAGE.parents[1] / "config" / "published.tsv"
    first = None
    print(f"{'records':>8} {'seconds':>8} {'ratio':>6} {'MiB':>6} {'page MiB':>9}")
    for size in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", WORK, sys.argv[1], str(size), str(RUNS), folder, str(published)]
            environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds, memory, page = json.loads(done.stdout.splitlines()[-1])
        first = first or seconds
        print(f"{size:>8,} {seconds:>8.1f} {seconds / first:>6.1f} {memory:>6.0f} {page:>9.2f}", flush=True)


if __name__ == "__main__":
    main()
