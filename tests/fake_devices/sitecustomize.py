"""A Python whose torch and whose epochbench see a scripted accelerator of the kind FAKE_DEVICE; FAKE_SCRIPT is JSON."""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from pathlib import Path

import fake_devices


class AfterImport(importlib.abc.MetaPathFinder):
    """Has a function look at some modules right after they were imported."""

    def __init__(self, names, function):
        self.names, self.function = set(names), function

    def find_spec(self, name, path=None, target=None):
        if name not in self.names:
            return None
        self.names.discard(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                self.function(module)

            spec.loader.exec_module = exec_module
        return spec


def install():
    kind, script = os.environ["FAKE_DEVICE"], json.loads(os.environ.get("FAKE_SCRIPT", "{}"))
    queue, folder = fake_devices.Queue(script), Path(os.environ.get("FAKE_CARDS", "/nowhere"))

    def seen(module):
        if module.__name__ == "torch":
            fake_devices.install_torch(setattr, module, kind, queue)
        else:
            fake_devices.install_module(setattr, module, kind, folder)

    sys.meta_path.insert(0, AfterImport(("torch", *fake_devices.MODULES), seen))


class Forbidden(importlib.abc.MetaPathFinder):
    """Lets nobody import torch."""

    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise ImportError("torch, which is forbidden here")


if "FAKE_DEVICE" in os.environ:
    install()
if "FAKE_FORBIDS_TORCH" in os.environ:
    sys.meta_path.insert(0, Forbidden())
