"""The process in which a framework other than torch trains: started by measure.py in the framework's own interpreter.

It is asked in lines of JSON on its standard input, and answers each in a line on what was its standard output; what the
framework prints goes to standard error. Weights pass as safetensors files. Nothing here imports torch.
"""

import contextlib
import importlib
import json
import os
import platform
import sys
import time
import traceback
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TextIO

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from epochbench.documents import from_dict, to_dict
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.shard.manifest import read_manifest
from epochbench.timing import devices, frameworks, stopwatch
from epochbench.timing.frameworks.trainer import Trainer, TrainerDevice, TrainerStep
from epochbench.timing.machine import host
from epochbench.timing.process import keep_freed_memory
from epochbench.timing.stack import FRAMEWORK_VARIABLES, variables
from epochbench.timing.task import Task
from epochbench.timing.team import Solo

# What XLA, TensorFlow and drivers say where something does not fit.
NO_MEMORY = ("resource_exhausted", "resourceexhausted", "out of memory", "out_of_memory")


class Session:
    """One cell in one framework; every public method answers a request of the same name."""

    def __init__(self, task: Task, console: TextIO | None = None):
        self.task, self.console = task, console
        self.shapes: dict[str, tuple] = {}  # of the weights that a training began with

    def open(self) -> dict:
        """Prepare this process and open the framework; tell what it is."""
        cell, manifest = self.task.cell, read_manifest(self.task.manifest)
        _pin(self.task.threads)
        if cell.allocator == "tuned" and not keep_freed_memory():
            raise BenchmarkError(f"cell '{cell.cell}': allocator 'tuned' needs glibc's mallopt; use 'system' here")
        versions = _versions(cell.framework)
        asked = variables(FRAMEWORK_VARIABLES)  # before the framework's file sets what follows from the cell
        module = importlib.import_module(frameworks.module_of(cell.framework))
        shape, classes = tuple(manifest["image_shape"]), len(manifest["class_names"])
        self.trainer: Trainer = module.open_framework(cell, self.task.protocol, shape, classes, self.task.threads)
        self.device = TrainerDevice(self.trainer, cell.device == "gpu")
        self.step = TrainerStep(self.trainer)
        if cell.device == "gpu" and self.device.gpu() is None:
            raise BenchmarkError(f"cell '{cell.cell}': no GPU's driver shows one to frameworks here; check the driver")
        return {
            "gpu": self.device.gpu() and to_dict(self.device.gpu()),
            "stack": versions | self.device.stack() | asked,
        }

    def load(self, names: list[str]) -> dict:
        """Load the training images; tell the seconds and the sizes of the batches.

        `names` are those of the weights in their order, which files do not keep.
        """
        self.names = names
        started = time.perf_counter()
        batches = _batches(self.task)
        self.trainer.load(batches)
        self.trainer.synchronize()
        self.sizes = [len(labels) for _, labels in batches]
        return {"seconds": time.perf_counter() - started, "sizes": self.sizes}

    def warm_up(self, weights: str, checked: int, folder: str) -> dict:
        """Take the first steps from some weights, each timed by itself; keep the weights after the first few."""
        self._begin(weights)
        seconds, losses = [], []
        for number in self.task.protocol.warmup_batches(len(self.sizes), self.sizes[-1] != self.sizes[0]):
            self.device.start()
            loss = self.step.take(number, self.sizes[number])
            seconds.append(self.device.stop().wall_seconds)
            losses.append(float(self.trainer.read(loss)))
            if len(losses) <= checked:
                self._save(f"{folder}/step-{len(losses)}.safetensors")
        return {"seconds": seconds, "losses": losses}

    def whole_epoch(self, weights: str, kept: str) -> dict:
        """Take a whole epoch from some weights by the function that is timed; tell its losses, keep its weights."""
        self._begin(weights)
        self.device.start()
        losses = self.step.epoch(self.sizes)
        seconds = self.device.stop().wall_seconds
        self._save(kept)
        return {"seconds": seconds, "losses": losses.every()}

    def time_epochs(self, weights: str, owners: list[int]) -> dict:
        """Time the epochs of a training from some weights; `owners` are further processes on the card that are ours."""
        self.device.owners = {os.getpid(), *owners}
        self._begin(weights)
        self.device.settle()
        self.step.first = None
        timed = stopwatch.time_epochs(self.task, Solo(), self.step, self.sizes, self.device, self.console)
        return to_dict(replace(timed, first_losses=self.step.first.every()))

    def finish(self, kept: str) -> dict:
        """Keep the weights as they are; tell what else the record says."""
        self._save(kept)
        return {
            "threads": self.trainer.threads(),
            "flags": self.device.flags(),
            "tf32": self.device.tf32_allowed(),
            "environment": host.relevant_environment(devices.shown_variables()),
        }

    def _begin(self, path: str) -> None:
        stored = load_file(path)
        self.shapes = {name: stored[name].shape for name in self.names}
        self.trainer.begin({name: stored[name] for name in self.names})

    def _save(self, path: str) -> None:
        """Write the weights to a file. Raises BenchmarkError where they are not those that a training began with."""
        kept = {name: np.ascontiguousarray(values) for name, values in self.trainer.weights().items()}
        shapes = {name: values.shape for name, values in kept.items()}
        if wrong := sorted(name for name, _ in shapes.items() ^ self.shapes.items()):
            cell, first = self.task.cell, wrong[0]
            raise BenchmarkError(
                f"cell '{cell.cell}': framework {cell.framework} gives back weight '{first}' in shape "
                f"{shapes.get(first, 'none')}, and was given {self.shapes.get(first, 'none')}; mend its weights()"
            )
        save_file(kept, path)


def _batches(task: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the training images as they are stored, cut into batches: uint8 [n, *shape] and int64 [n].

    Raises BenchmarkError where the batch size does not fit the data.
    """
    manifest, size = read_manifest(task.manifest), task.cell.batch_size
    split = manifest["splits"]["train"]
    if size > split["images"]:
        raise BenchmarkError(
            f"cell '{task.cell.cell}': batch_size {size} does not fit {split['images']} training images; choose at "
            "most as many"
        )
    parts = []
    for shard in split["shards"]:
        with safe_open(Path(task.manifest).parent / shard["file"], framework="numpy") as stored:
            parts.append((stored.get_tensor("images"), stored.get_tensor("labels")))
    images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
    return [(images[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size)]


def _pin(threads: int) -> None:
    """Keep this process on as many cores as it has threads, where the system can pin at all."""
    if hasattr(os, "sched_getaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def _versions(framework: str) -> dict[str, str]:
    """Return the versions of this interpreter and the framework's packages. Raises BenchmarkError for too old ones."""
    found = {"Python": platform.python_version(), "numpy": np.__version__}
    for package, lowest in frameworks.packages(framework).items():
        version = _version(package)
        if version is None:
            raise BenchmarkError(
                f"framework '{framework}': package {package} is not installed in {sys.executable}; run make frameworks"
            )
        if _numbers(version) < _numbers(lowest):
            raise BenchmarkError(
                f"framework '{framework}': {package} {version} in {sys.executable} is too old, it needs {lowest} or "
                "later; run make frameworks"
            )
        found[package] = version
    return found


def _version(package: str) -> str | None:
    """Return the version of an imported package, which may come under another name, as tensorflow-cpu does."""
    names = [package, *metadata.packages_distributions().get(package, [])]
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _numbers(version: str) -> tuple[int, ...]:
    parts = (part for part in version.split("+")[0].split("."))
    return tuple(int(part) for part in parts if part.isdigit())


def _explained(task: Task, error: Exception) -> str:
    """Return in one line why something failed that is no mistake of ours."""
    cell, what = task.cell, f"{type(error).__name__}: {in_one_line(error)[:300]}"
    if isinstance(error, MemoryError) or any(word in what.lower() for word in NO_MEMORY):
        return (
            f"cell '{cell.cell}': out of memory in framework {cell.framework} with batch_size {cell.batch_size} "
            f"({what}); choose a smaller batch_size"
        )
    traceback.print_exc()
    return f"cell '{cell.cell}': framework {cell.framework} failed ({what}); what it said stands in the log above"


def serve(requests: TextIO, answers: TextIO, console: TextIO | None = None) -> None:
    """Answer requests until there are no more. The first one is the task; after a failure there is no other answer."""
    task = from_dict(Task, json.loads(requests.readline()))
    session = Session(task, console)
    for line in requests:
        asked = json.loads(line)
        try:
            answer = getattr(session, asked.pop("do"))(**asked)
        except BenchmarkError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": _explained(task, error)}
        print(json.dumps(answer), file=answers, flush=True)
        if "error" in answer:
            return


if __name__ == "__main__":
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(sys.stdin, channel, os.fdopen(int(sys.argv[1]), "w", buffering=1) if sys.argv[1:] else None)
