"""How much of a run is anything but training and calibration, and what is it?

The default sheet on the synthetic stand-in, in a fresh clone, as `snakemake --cores all` runs it; GPU cells are left
out, since a GPU's epochs are so short that the table would be about imports. Every part is taken from the records, and
what no record tells is the wall time less those.

Bar: all that is neither training (warm-up and timed epochs) nor calibration under a quarter of the wall time.

Usage: python benchmarks/overhead.py [OPTION_OF_SNAKEMAKE ...]
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
SOURCE = ["--config", "dataset={source: synthetic}", "devices={gpu: skip}"]
WANTED = ("training", "calibration")


def parts_of(record: dict) -> dict[str, float]:
    """Return the seconds of each part of one run."""
    timing = record["timing"]
    told = {
        "training": timing["warmup_seconds"] + sum(timing["epoch_seconds"]),
        "calibration": timing["calibration_seconds"],
        "process start, imports": timing["start_seconds"],
        "loading": timing["load_seconds"],
        "evaluation": timing["evaluation_seconds"],
        "checks for the gates": timing["check_seconds"],
    }
    return told | {"the rest of a run": record["wall_seconds"] - sum(told.values())}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), folder], check=True)
        command = [sys.executable, "-m", "snakemake", "--cores", "all", *SOURCE, *sys.argv[1:]]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
        wall = time.perf_counter() - started
        records = [json.loads(path.read_text()) for path in Path(folder).glob("results/train/*/*/*.json")]
    total = {}
    for record in records:
        for part, seconds in parts_of(record).items():
            total[part] = total.get(part, 0.0) + seconds
    total["Snakemake and the other jobs"] = wall - sum(total.values())
    for part, seconds in total.items():
        print(f"{part:<30} {seconds:>7.1f} s {seconds / wall:>6.1%}")
    other = wall - sum(total[part] for part in WANTED)
    print(f"{'neither of the first two':<30} {other:>7.1f} s {other / wall:>6.1%} (bar 25 %)")


if __name__ == "__main__":
    main()
