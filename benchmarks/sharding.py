"""How fast is the stage shard? Prints ratios measured side by side in one run.

Bars: archive to verified shards at most 1.5x of `gzip -dc` on the archive alone; at least 2x faster than torchvision's
own way (extract, load, ToTensor on each image); peak memory under 1 GiB. One job against two that share the
shards: a gzip stream has to be read from its beginning, so two jobs do the whole decompression twice.

Usage: python benchmarks/sharding.py [ARCHIVE]    (without one, the full-size synthetic archive is made)
"""

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts"
ROUNDS = 5

SHARD = """
import resource, sys
from epochbench.timing.process import keep_freed_memory
keep_freed_memory()
from epochbench.shard.write import shard_archive
from epochbench.shard.manifest import verify_shards
shard_archive(sys.argv[1], {"layout": "cifar10"}, sys.argv[2], 10_000)
verify_shards(sys.argv[2] + "/manifest.json")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""

TORCHVISION = """
import sys, tarfile
from torchvision.datasets import CIFAR10
from torchvision.transforms import ToTensor
tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="data")
CIFAR10._check_integrity = lambda self: True  # its own checksums would refuse any archive but the official one
CIFAR10._load_meta = lambda self: setattr(self, "classes", [])
for train in (True, False):
    dataset = CIFAR10(sys.argv[2], train=train, transform=ToTensor())
    for index in range(len(dataset)):
        dataset[index]
"""

MAKE = """
import sys
from epochbench.acquire.synthetic import Synthetic, write_archive
write_archive(sys.argv[1], Synthetic())
"""


def python(code: str, *arguments) -> list[str]:
    """Return the command that runs some code in a fresh process."""
    return [sys.executable, "-c", code, *map(str, arguments)]


def seconds(*commands: list[str]) -> tuple[float, str]:
    """Return how long commands take side by side, and what the first prints."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    started = time.perf_counter()
    # gzip's output is thrown away by the kernel; a pipe would charge it for our reading.
    out = subprocess.DEVNULL if commands[0][0] == "gzip" else subprocess.PIPE
    running = [subprocess.Popen(command, stdout=out, env=environment) for command in commands]
    outputs = [process.communicate()[0] or b"" for process in running]
    elapsed = time.perf_counter() - started
    assert not any(process.returncode for process in running), commands
    return elapsed, outputs[0].decode()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = sys.argv[1] if len(sys.argv) > 1 else f"{folder}/synthetic.tar.gz"
        if len(sys.argv) < 2:
            print(f"synthetic archive made in {seconds(python(MAKE, archive))[0]:.1f} s (bar: under 10 s)")
        packed = Path(archive).read_bytes()  # into the page cache
        print(f"{archive}: {len(packed) / 1e6:.0f} MB, sha256 {hashlib.sha256(packed).hexdigest()[:12]}")
        ways = {
            "gzip -dc": [["gzip", "-dc", archive]],
            "shard": [python(SHARD, archive, f"{folder}/one")],
            "two jobs": [python(SHARD, archive, f"{folder}/{name}") for name in ("two", "three")],
        }
        times = {name: [] for name in ways}
        peak = ""
        for _ in range(ROUNDS):
            for name, commands in ways.items():
                elapsed, printed = seconds(*commands)
                times[name].append(elapsed)
                peak = printed if name == "shard" else peak
        median = {name: statistics.median(values) for name, values in times.items()}
        median["torchvision"] = seconds(python(TORCHVISION, archive, f"{folder}/torchvision"))[0]
        print(f"{'way':<14}{'seconds':>9}{'of shard':>10}")
        for name, value in median.items():
            print(f"{name:<14}{value:>9.2f}{value / median['shard']:>10.2f}")
        print(f"shard / gzip -dc: {median['shard'] / median['gzip -dc']:.2f} (bar: at most 1.5)")
        print(f"torchvision / shard: {median['torchvision'] / median['shard']:.2f} (bar: at least 2)")
        print(f"two jobs / one: {median['two jobs'] / median['shard']:.2f} (below 1 would speak for parallel jobs)")
        print(f"peak memory: {int(peak) / 2**20:.0f} MiB (bar: under 1024)")


if __name__ == "__main__":
    main()
