"""What the kernel and xpu-smi tell of Intel GPUs, without torch. Not yet run on real hardware."""

import json
import os
import subprocess
from functools import cache
from pathlib import Path

from epochbench.timing.devices.drivers import chosen_by
from epochbench.timing.record import Gpu

CARDS = Path("/sys/class/drm")
VENDOR = "0x8086"
# Graphics that a processor has in it are always here; where there is a card, torch is meant to use that.
INTEGRATED = "00:02.0"
DRIVERS = ("xe", "i915")
# The first chooses cards by numbers alone.
VISIBLE = ("ZE_AFFINITY_MASK",)
COMMAND = ["xpu-smi", "discovery", "-j"]
SECONDS = 60
SELECTOR = "ONEAPI_DEVICE_SELECTOR"


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the Intel GPUs that the kernel shows and ZE_AFFINITY_MASK does not hide, cards before what is built in."""
    if not _selected():
        return ()
    # Of an empty mask Level Zero hides nothing.
    masks = [name for name in VISIBLE if os.environ.get(name)]
    names = _names()
    return chosen_by(masks, "no identity", [_gpu(folder, names) for folder in folders()])


def unseen() -> str | None:
    """Return in words why nobody could look for Intel GPUs, None where somebody could."""
    devices = Path("/dev/dri")
    return f"{devices} is here, but not {CARDS}" if devices.is_dir() and not CARDS.is_dir() else None


def _selected() -> bool:
    """Tell whether oneAPI's own selector leaves a GPU: hiding cells for the CPU write one that leaves none."""
    terms = [term.partition(":")[2] for term in os.environ.get(SELECTOR, "").lower().split(";") if term[:1] != "!"]
    devices = [device for term in filter(None, terms) for device in term.split(",")]
    # By kind, by number, or by the number of a part (0.1), of which any may be a star.
    return not devices or any(device == "gpu" or device[:1] in set("*0123456789") for device in devices)


def folders() -> list[Path]:
    """Return the kernel's folder of each Intel GPU: of the cards, or else of what is built into the processor."""
    every = [path / "device" for path in sorted(CARDS.glob("card[0-9]*")) if "-" not in path.name]
    found = [path for path in every if _read(path / "vendor") == VENDOR and _driver(path) in DRIVERS]
    cards = [path for path in found if not _address(path).endswith(INTEGRATED)]
    return cards or found


def has_card() -> bool:
    """Tell whether one of the GPUs is a card, rather than built into the processor."""
    return any(not _address(folder).endswith(INTEGRATED) for folder in folders())


def _gpu(folder: Path, names: dict[str, str]) -> Gpu:
    device = (_read(folder / "device") or "").removeprefix("0x")
    name = names.get(_address(folder)) or f"Intel GPU {device}"
    return Gpu(name, 0, _driver(folder), None)


def _names() -> dict[str, str]:
    """Return the cards' names by their PCI addresses, of which xpu-smi alone tells; none without it."""
    try:
        done = subprocess.run(COMMAND, capture_output=True, text=True, timeout=SECONDS, check=True)
        return {card["pci_bdf_address"]: card["device_name"] for card in json.loads(done.stdout)["device_list"]}
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return {}


def _address(folder: Path) -> str:
    """Return a card's PCI address, which is the name of the folder that this one leads to."""
    return folder.resolve().name


def _driver(folder: Path) -> str:
    return (folder / "driver").resolve().name


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def energy_joules() -> float | None:
    """Return what the one card here has taken so far, by the kernel's counter in microjoules; else None.

    Of several cards nobody knows which of them torch's number means.
    """
    cards = folders()
    counters = sorted(cards[0].glob("hwmon/hwmon*/energy1_input")) if len(cards) == 1 else []
    text = _read(counters[0]) if counters else None
    return int(text) / 1e6 if text and text.isdigit() else None
