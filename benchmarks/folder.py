"""How fast do images of one's own become shards? Prints a ratio measured in one run.

10,000 PNGs, decoded, resized and written as shards: by the stage acquire and shard, on every core that this process may
use, and by torchvision's ImageFolder one by one (Resize, ToTensor), whose floats become bytes and one file. Bar: at
least 3x. Both decode with Pillow, so beyond the number of cores only what stands around the decoding can be saved: the
ratio falls towards the number of cores as images grow.

Usage: python benchmarks/folder.py [SIDE [SIZE]]    (PNGs of SIDE pixels, 64; resized to SIZE, 32)
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = Path(__file__).parents[1] / "workflow" / "scripts"
COUNT, CLASSES, ROUNDS = 10_000, 10, 3

OURS = """
import sys
from pathlib import Path
from epochbench.acquire.acquire import Wanted, acquire
from epochbench.shard.write import shard_archive
folder, size, out = sys.argv[1], sys.argv[2], Path(sys.argv[3])
plan = {"path": folder, "size": f"{size}x{size}", "colours": "auto", "test_share": 0.2}
source = acquire(Wanted(source="folder", plan=plan), out / "dataset.tar.gz")
shard_archive(out / "dataset.tar.gz", source, out / "shard", 10_000)
"""

IMAGE_FOLDER = """
import sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from torchvision.datasets import ImageFolder
from torchvision.transforms import Compose, Resize, ToTensor
folder, size, out = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
out.mkdir(parents=True, exist_ok=True)
data = ImageFolder(folder, Compose([Resize((size, size)), ToTensor()]))
images, labels = zip(*(data[number] for number in range(len(data))))
images = torch.stack([(image * 255).round().to(torch.uint8) for image in images])
save_file({"images": images, "labels": torch.tensor(labels)}, out / "images.safetensors")
"""


def make(folder: Path, side: int) -> None:
    """Write images with the size of photographs' PNGs: smooth colours under a little noise."""
    random = np.random.default_rng(1)
    for number in range(COUNT):
        place = folder / f"class-{number % CLASSES}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = smooth + random.integers(-4, 5, smooth.shape, dtype=np.int16)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(place / f"{number:05d}.png")


def seconds(code: str, *arguments: object) -> float:
    """Return how long some code takes in a fresh process."""
    environment = os.environ | {"PYTHONPATH": str(PACKAGE)}
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], env=environment, check=True)
    return time.perf_counter() - started


def main() -> None:
    side, size = (int(each) for each in [*sys.argv[1:], *("64", "32")[len(sys.argv) - 1 :]])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "images")
        make(folder, side)
        found = {"ours": [], "ImageFolder": []}
        for number in range(ROUNDS):
            for name, code in (("ours", OURS), ("ImageFolder", IMAGE_FOLDER)):
                found[name].append(seconds(code, folder, size, Path(place, f"{name}-{number}")))
        median = {name: statistics.median(values) for name, values in found.items()}
        cores = len(os.sched_getaffinity(0))
        print(f"{COUNT} PNGs of {side} pixels to {size}, {cores} cores")
        for name, value in median.items():
            print(f"{name:<12}{value:>8.2f} s")
        print(f"ImageFolder / ours: {median['ImageFolder'] / median['ours']:.2f} (bar: at least 3)")


if __name__ == "__main__":
    main()
