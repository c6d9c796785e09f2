"""One card as its maker's driver tells of it, without torch: of the one that torch trains on, and of others' too."""

import contextlib
from collections.abc import Collection
from types import ModuleType

from epochbench.timing.machine.watch import Watching, watched
from epochbench.timing.record import Gpu, GpuState


def drivers_and_limits(driver: ModuleType, gpus: Collection[Gpu]) -> dict[str, object]:
    """Return the versions of cards' drivers, and their power limits, which decide a timing on them."""
    states = [driver.gpu_state(gpu.uuid) for gpu in gpus]
    return {
        "drivers": [gpu.driver or "unknown" for gpu in gpus],
        "power limits": [state.power_limit_watts if state else None for state in states],
    }


class Card:
    """A card, and the module of drivers/ that asks its driver; `own` are the processes there that are ours.

    By default that is this one alone.
    """

    def __init__(self, driver: ModuleType, gpu: Gpu):
        self.driver, self.gpu = driver, gpu

    def state(self, own: Collection[int] = ()) -> GpuState | None:
        """Return the card's clocks, limits and other processes, None where the driver does not tell."""
        return self.driver.gpu_state(self.gpu.uuid, own)

    def energy_joules(self) -> float | None:
        """Return the card's energy counter in joules, None where it has none."""
        return self.driver.energy_joules(self.gpu.uuid)

    def watched(self, own: Collection[int] = ()) -> contextlib.AbstractContextManager[Watching]:
        """Watch the card from another process, which the queue of this one does not hold up."""
        return watched(self.driver.__name__, self.gpu.uuid if self.state(own) else None, own)

    def stack(self) -> dict[str, str]:
        """Return the driver's version and the card's power limit."""
        state = self.state()
        limit = state.power_limit_watts if state else None
        return {
            "driver": self.gpu.driver or "unknown",
            "power limit": "unknown" if limit is None else f"{limit:.0f} W",
        }
