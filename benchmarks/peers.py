"""Would another tool train the same epoch faster on these cores?

The reference, the best fp32 cell and, where the processor computes in bf16, that one, against Keras 3 on TensorFlow in
graph mode and against JAX, all from fresh processes that take turns, on the same full-size stand-in. Every process may
use every core and keeps its freed memory (the peers through GLIBC_TUNABLES). The peers' last loss is printed so that
nobody need believe that they trained. Each peer has a virtual environment of its own, pinned with hashes in peers/; the
first run installs both, about 1 GB, and later ones use them again.

Bars: the best fp32 cell no slower than Keras 3 on TensorFlow, aim 1.2 times faster; the best cell of any precision at
least 1.15 times faster, aim 1.5.

Usage: python benchmarks/peers.py [ROUNDS] [ENVIRONMENTS], by default 3 and .venv-peers
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from ladder import MAKE, REPOSITORY, RUN, python

HERE = Path(__file__).parent / "peers"
KEEP_FREED_MEMORY = "glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=2147483647"
# XLA's convolutions take half a minute an epoch on two cores: once is enough to see it.
SLOW = ("keras on jax", "jax")

EXPORT = """
import sys, numpy as np
from epochbench.timing.load import load_split
images, labels = load_split(sys.argv[1] + "/manifest.json", "train", "cpu")
np.save(sys.argv[1] + "/images.npy", (images * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy())
np.save(sys.argv[1] + "/labels.npy", labels.numpy())
"""


def environment(folder: Path, name: str) -> Path:
    """Return the interpreter of a peer's virtual environment, made anew where its pins have changed."""
    pins, ready = HERE / f"{name}.txt", folder / name / "ready.txt"
    interpreter = folder / name / "bin" / "python"
    if not ready.exists() or ready.read_text() != pins.read_text():
        print(f"installing {name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / name)], check=True)
        install = ["-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(pins)]
        subprocess.run([interpreter, *install], check=True)
        ready.write_text(pins.read_text())
    return interpreter


def peer(interpreter: Path, script: str, *arguments: str, backend: str = "tensorflow") -> dict:
    """Run a peer's epochs in a fresh process and return what it prints."""
    settings = {"GLIBC_TUNABLES": KEEP_FREED_MEMORY, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(interpreter), str(HERE / script), *arguments]
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def ours(sheet: Path, cell: str, folder: str) -> dict:
    results = json.loads(python(RUN, str(sheet), cell, folder))
    return {"seconds": results["seconds"], "loss": results["losses"][-1]}


def computes_bf16() -> bool:
    return python("from epochbench.timing.devices.cpu import CpuDevice; print(CpuDevice().computes_bf16())") == "True"


def contenders(folder: str, environments: Path) -> dict:
    """Return what runs: by name, a function that runs it once in a fresh process."""
    sheet = Path(folder) / "cells.tsv"
    sheet.write_text((REPOSITORY / "config" / "cells.tsv").read_text())
    cells = ["cpu-reference", "cpu-onednn", *(["cpu-bf16"] if computes_bf16() else [])]
    tensorflow, jax = (environment(environments, name) for name in ("tensorflow", "jax"))
    return {cell: lambda cell=cell: ours(sheet, cell, folder) for cell in cells} | {
        "keras on tensorflow": lambda: peer(tensorflow, "keras_epoch.py", folder, "published", "3"),
        "the same, pool first": lambda: peer(tensorflow, "keras_epoch.py", folder, "pool_first", "3"),
        "keras on jax": lambda: peer(jax, "keras_epoch.py", folder, "published", "1", backend="jax"),
        "jax": lambda: peer(jax, "jax_epoch.py", folder, "1"),
    }


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    environments = Path(sys.argv[2]) if len(sys.argv) > 2 else REPOSITORY / ".venv-peers"
    with tempfile.TemporaryDirectory() as folder:
        python(MAKE, folder)
        python(EXPORT, folder)
        runs = {name: (run, []) for name, run in contenders(folder, environments).items()}
        for number in range(rounds):
            for name, (run, results) in runs.items():
                if number == 0 or name not in SLOW:
                    results.append(run())
    report({name: results for name, (_, results) in runs.items()})


def report(results: dict[str, list[dict]]) -> None:
    medians = {name: statistics.median(s for run in runs for s in run["seconds"]) for name, runs in results.items()}
    print(f"{'':<22} {'s/epoch':>8} {'cpu-onednn is':>13} {'last loss':>10}")
    for name, seconds in medians.items():
        print(
            f"{name:<22} {seconds:>8.2f} {seconds / medians['cpu-onednn']:>12.2f}x {results[name][-1]['loss']:>10.4f}"
        )
    theirs = medians["keras on tensorflow"]
    best = min(seconds for name, seconds in medians.items() if name.startswith("cpu-"))
    print(f"best fp32 cell: {theirs / medians['cpu-onednn']:.2f}x Keras on TensorFlow (bar 1, aim 1.2)")
    print(f"best cell of any precision: {theirs / best:.2f}x (bar 1.15, aim 1.5)")


if __name__ == "__main__":
    main()
