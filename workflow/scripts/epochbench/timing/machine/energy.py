"""Energy counters: those of the processors, from the kernel, and what two readings say. None is "unknown", never 0."""

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


def cpu_microjoules(folder: Path = POWERCAP) -> dict[str, tuple[int, int]] | None:
    """Return every processor package's energy counter in microjoules and where it begins anew; None if not readable.

    Read here, since libraries that watch them start a process of their own, which would stand beside the clock.
    """
    counters = {}
    for zone in sorted(folder.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") != 1 or not _is_package(zone):  # cores and memory of a package are in it already
            continue
        try:
            counters[zone.name] = (
                int((zone / "energy_uj").read_text()),
                int((zone / "max_energy_range_uj").read_text()),
            )
        except (OSError, ValueError):  # root alone may read them on most systems
            return None
    return counters or None


def _is_package(zone: Path) -> bool:
    """Tell a package from `psys`, the whole board, which has the packages in it; the kernel writes each zone's name."""
    try:
        return (zone / "name").read_text().startswith("package")
    except OSError:  # a kernel that names none has packages alone
        return True


def cpu_joules_between(before: dict | None, after: dict | None) -> float | None:
    """Return the joules between two readings, a counter that began anew included; None where either is unknown."""
    if before is None or after is None or before.keys() != after.keys():
        return None
    spent = [(after[zone][0] - before[zone][0]) % (before[zone][1] + 1) for zone in before]
    return sum(spent) / 1e6


def joules_between(before: float | None, after: float | None) -> float | None:
    """Return the joules between two readings of an accelerator's counter; None where either is unknown.

    A counter that ran backwards is unknown. One that did not move may have been read too soon: 0 is for a short while.
    """
    return None if before is None or after is None or after < before else after - before
