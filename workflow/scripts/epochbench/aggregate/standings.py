"""The summary's part on frameworks: how they stand to each other on each device, in frozen dataclasses.

Intervals have the confidence of the settings, and None is "unknown" unless a field says otherwise.
"""

from dataclasses import dataclass

from epochbench.stats import Interval


@dataclass(frozen=True)
class FrameworkCells:
    """What one framework reached on one device."""

    framework: str  # the sheet's word
    name: str  # as people say it
    versions: str  # of its packages, as its records have them
    reference: str | None  # the baseline, or else its cell that sets least; None where that failed a hard gate
    reference_seconds: Interval | None  # the typical epoch of that, s; None without one
    best: str  # its fastest cell
    best_seconds: Interval  # the typical epoch of that, s
    over_reference: Interval | None  # how many times faster its best is than its reference; None without one


@dataclass(frozen=True)
class FrameworkRatio:
    """The fastest cell of the fastest framework against that of another."""

    precision: str | None  # of both; None: each at its best, whatever it sets
    framework: str  # that of the faster side, the sheet's word
    other: str  # that of the slower side
    fast: str  # the cell of the faster side
    slow: str  # the cell of the slower side
    speedup: Interval  # how many times faster; the intervals of one precision hold together
    is_certain: bool  # whether the interval excludes 1
    differs: list[str]  # in what else the sides differ that is not the framework's own, in words


@dataclass(frozen=True)
class Standing:
    """The frameworks that one device was timed with."""

    device: str  # cpu or gpu
    hardware: str  # as its cells name it
    frameworks: list[FrameworkCells]  # fastest first
    ratios: list[FrameworkRatio]  # those at equal precision first


@dataclass(frozen=True)
class WithinFramework:
    """GPU against CPU within one framework: like with like."""

    framework: str  # the sheet's word
    cpu: str  # its fastest CPU cell
    gpu: str  # its fastest GPU cell
    speedup: Interval  # how many times faster the GPU cell is


@dataclass(frozen=True)
class NotTimed:
    """A framework without a cell that counts on a device on which others were timed."""

    framework: str  # the sheet's word
    device: str  # cpu or gpu
    reason: str  # in words


@dataclass(frozen=True)
class Frameworks:
    """How the frameworks stand to each other."""

    standings: list[Standing]  # one for each device with two frameworks or more
    within: list[WithinFramework]  # one for each framework with cells on both devices
    missing: list[NotTimed]  # one for each device and framework
    sentences: list[str]  # which is fastest on each device, by how much and whether that is certain; what is missing
    details: list[str]  # each at its best, where that is another pair of cells; GPU against CPU within each
