"""Accelerators that are none: torch's words for them, answered by the processor, a queue, and a script.

The `install_` functions put one kind in place by a function that sets attributes: setattr for a whole process, or a
monkeypatch's. What such a device computes, it computes on the processor and at once; then its queue is busy for a while
longer, as scripted.
"""

import time
from types import SimpleNamespace

MEMORY = 16 * 2**30
# What the card of each kind is called, and which platform torch says that it is built for.
NAMES = {"rocm": "AMD Instinct MI999", "mps": "Apple M9 Pro GPU", "xpu": "Intel Arc B999"}
BUILT_FOR = {"rocm": {"hip": "7.1"}, "mps": {}, "xpu": {"xpu": "20260100"}}
CLASSES = {"rocm": "RocmDevice", "mps": "MpsDevice", "xpu": "XpuDevice"}
HONEST = {"step_seconds": 0.0, "waits": True, "event_factor": 1.0, "event_offset_ms": 0.0, "fails_after": None}


class Queue:
    """What the device has still to do: nothing from a moment on."""

    def __init__(self, script):
        self.script = HONEST | script
        self.empty_at = 0.0
        self.waits = 0
        self.last = None

    def add(self):
        """Take the work of a step."""
        self.empty_at = max(self.empty_at, time.perf_counter()) + self.script["step_seconds"]

    def wait(self):
        """Wait until nothing is left, as reading a value of the device does."""
        time.sleep(max(0.0, self.empty_at - time.perf_counter()))

    def synchronize(self, device=None):
        """Wait likewise, fail, or return too soon, as scripted."""
        import torch

        self.waits += 1
        if self.script["fails_after"] is not None and self.waits > self.script["fails_after"]:
            raise torch.AcceleratorError("the device is lost")
        if self.script["waits"]:
            self.wait()
            if self.last:  # reached when the wait for it ends, however long a busy machine makes that
                self.last.at = time.perf_counter()

    def event(self, device=None, enable_timing=False):
        """Return an event of this queue."""
        return Event(self)


class Event:
    """A mark in the queue, which is reached once all before it is done."""

    def __init__(self, queue):
        self.queue = queue

    def record(self):
        self.at = max(time.perf_counter(), self.queue.empty_at)
        self.queue.last = self

    def elapsed_time(self, end):
        script = self.queue.script
        return (end.at - self.at) * 1e3 * script["event_factor"] + script["event_offset_ms"]


def install_torch(put, torch, kind, queue):
    """Have torch see one device of a kind."""
    put(torch.accelerator, "set_device_index", lambda index: None)
    put(torch.accelerator, "synchronize", queue.synchronize)
    put(torch.accelerator, "max_memory_allocated", lambda device: 123 * 2**20)
    put(torch.accelerator, "get_memory_info", lambda device: (MEMORY, MEMORY))
    put(torch, "Event", queue.event)
    put(torch.version, "hip", BUILT_FOR[kind].get("hip"))
    put(torch.version, "xpu", BUILT_FOR[kind].get("xpu"))
    backward, as_float = torch.autograd.backward, torch.Tensor.__float__

    def backward_and_more(*arguments, **options):
        backward(*arguments, **options)
        queue.add()

    def float_once_it_is_there(tensor):
        queue.wait()
        return as_float(tensor)

    put(torch.autograd, "backward", backward_and_more)
    put(torch.Tensor, "__float__", float_once_it_is_there)
    {"rocm": _see_rocm, "mps": _see_mps, "xpu": _see_xpu}[kind](put, torch)


def _see_rocm(put, torch):
    facts = SimpleNamespace(name="as torch calls it", total_memory=MEMORY, uuid=b"00000000000000aa".hex())
    put(torch.cuda, "is_available", lambda: True)
    put(torch.cuda, "device_count", lambda: 1)
    put(torch.cuda, "get_device_properties", lambda device: facts)
    put(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    put(torch.cuda, "mem_get_info", lambda device: (MEMORY, MEMORY))


def _see_mps(put, torch):
    put(torch.backends.mps, "is_available", lambda: True)
    put(torch.backends.mps, "is_built", lambda: True)
    put(torch.mps, "driver_allocated_memory", lambda: 123 * 2**20)
    put(torch.mps, "recommended_max_memory", lambda: MEMORY)


def _see_xpu(put, torch):
    facts = SimpleNamespace(name=NAMES["xpu"], total_memory=MEMORY, driver_version="1.6", uuid=None)
    put(torch.xpu, "is_available", lambda: True)
    put(torch.xpu, "device_count", lambda: 1)
    put(torch.xpu, "get_device_properties", lambda device: facts)
    put(torch.xpu, "is_bf16_supported", lambda including_emulation=True: True)


def install_module(put, module, kind, folder):
    """Have a module of the package see the device; its tensors stay on the processor, and its peaks are small.

    `folder` has the kernel's files of a card.
    """
    name = module.__name__.rpartition(".")[2]
    if name == "torch_files":
        put(module, "built_for", BUILT_FOR[kind].get)
    elif name == "apple" and kind == "mps":
        put(module, "here", lambda: True)
        put(module, "CHIP", ["echo", "Apple M9 Pro"])
        put(module, "has_bf16", lambda: True)
    elif name == "intel" and kind == "xpu":
        put(module, "CARDS", folder)
    elif name == kind:
        device = getattr(module, CLASSES[kind])
        for attribute, value in {"torch_type": "cpu", "product_sizes": (512,), "copy_bytes": 2**24}.items():
            put(device, attribute, value)


MODULES = (
    "epochbench.timing.machine.torch_files",
    "epochbench.timing.devices.drivers.apple",
    "epochbench.timing.devices.drivers.intel",
    *(f"epochbench.timing.devices.{kind}" for kind in CLASSES),
)


def make_intel_card(folder, microjoules=None):
    """Write the kernel's files of one Intel card, and of the graphics that a processor has in it."""
    for number, address in ((0, "0000:00:02.0"), (1, "0000:03:00.0")):
        device = folder / "pci" / address
        (device / "hwmon" / "hwmon1").mkdir(parents=True)
        (device / "vendor").write_text("0x8086\n")
        (device / "device").write_text("0xe20b\n")
        (folder / "drivers" / "xe").mkdir(parents=True, exist_ok=True)
        (device / "driver").symlink_to(folder / "drivers" / "xe")
        (folder / "drm" / f"card{number}").mkdir(parents=True)
        (folder / "drm" / f"card{number}" / "device").symlink_to(device)
    if microjoules is not None:
        (folder / "pci/0000:03:00.0/hwmon/hwmon1/energy1_input").write_text(f"{microjoules}\n")
    return folder / "drm"
