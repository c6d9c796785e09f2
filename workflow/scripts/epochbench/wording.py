"""How numbers and verdicts are put in words, the same on the console, in tables, figures and the page."""

import math
from collections.abc import Sequence

from epochbench.stats import Interval, less_time

MAX_DIGITS = 4
# Of a number, more than anybody reads.
ALL_DIGITS = 9
MINUS = "\N{EN DASH}"


def digits_supported(interval: Interval) -> int:
    """Return how many significant digits an interval is written with: the fewest with steps within its half-width.

    So rounding does not join its ends. At least two and at most four, or one where it is wider than its estimate.
    """
    if interval.low is None or interval.high <= interval.low:
        return 3
    relative = (interval.high - interval.low) / 2 / interval.estimate
    return min(MAX_DIGITS, max(2, 1 + math.ceil(-math.log10(relative)))) if relative < 1 else 1


def significant(value: float, digits: int) -> str:
    """Write a number with so many significant digits, never in powers of ten."""
    if value == 0:
        return "0"
    rounded = round(value, _decimals(value, digits))
    # 99.96 becomes 100, which has a digit more before its point.
    return f"{rounded:,.{max(0, _decimals(rounded, digits))}f}"


def _decimals(value: float, digits: int) -> int:
    """Return the place after the point of a number's last significant digit; negative before the point."""
    return digits - 1 - math.floor(math.log10(abs(value)))


def seconds(value: float, digits: int = 3) -> str:
    """Write a time in the unit that suits it: 14.2 s, 828.8 ms, 95.1 us."""
    for factor, unit in ((1, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{significant(value / factor, digits)} {unit}"
    return f"{significant(value / 1e-6, digits)} \N{MICRO SIGN}s"


def joules(value: float | None) -> str:
    """Write an energy in joules; "unknown" where no counter told it."""
    return "unknown" if value is None else f"{significant(value, 3)} J"


def rate(value: float, unit: str) -> str:
    """Write a rate with its prefix: 252 GFLOP/s, 22.0 GB/s."""
    for factor, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{significant(value / factor, 3)} {prefix}{unit}"
    return f"{significant(value, 3)} {unit}"


def interval_seconds(interval: Interval) -> str:
    """Write an epoch time with the digits that its interval supports."""
    return seconds(interval.estimate, digits_supported(interval))


def interval_of_seconds(interval: Interval) -> str:
    """Write both ends of a time's interval, or say that one run has none."""
    if interval.low is None:
        return "one run"
    digits = digits_supported(interval)
    return f"{seconds(interval.low, digits)} {MINUS} {seconds(interval.high, digits)}"


def ratio(interval: Interval, unit: str = "x") -> str:
    """Write a speedup: 99.5x."""
    return f"{significant(interval.estimate, digits_supported(interval))}{unit}"


def ratio_with_interval(interval: Interval, *, beyond_one: bool = False) -> str:
    """Write a speedup and its interval: 3.49x (3.41-3.57), or say that one run has none.

    With `beyond_one` a lower end above 1 has as many digits as show it: 4x (1.2-10).
    """
    return f"{ratio(interval)} ({bounds(interval, beyond_one=beyond_one)})"


def bounds(interval: Interval, *, beyond_one: bool = False) -> str:
    """Write both ends of a speedup's interval: 3.41-3.57, or say that one run has none."""
    if interval.low is None:
        return "one run, no interval"
    digits = digits_supported(interval)
    if beyond_one and 1 < interval.low < 2:
        seen = (each for each in range(digits, ALL_DIGITS) if float(significant(interval.low, each)) > 1)
        digits = next(seen, ALL_DIGITS)
    return f"{significant(interval.low, digits)}{MINUS}{significant(interval.high, digits)}"


def less_time_percent(interval: Interval) -> str:
    """Write the share of time that a speedup saves: 98.995 % less time, or how much more time it takes.

    What is left of the time has as many digits as the speedup has, since the one is the other's inverse.
    """
    left = 100 / interval.estimate
    decimals = _decimals(left, digits_supported(interval))
    share = round(less_time(interval.estimate) * 100, decimals)
    return f"{abs(share):,.{max(0, decimals)}f} % {'less' if share >= 0 else 'more'} time"


def percent(share: float) -> str:
    """Write a share in whole percent: 95 %."""
    return f"{share * 100:.0f} %"


def listed(words: list[str]) -> str:
    """Write words as a list: a; a and b; a, b and c."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def cut(text: str, most: int) -> str:
    """Return a text, cut where it has more letters than so many."""
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}\N{HORIZONTAL ELLIPSIS}"


def some(words: Sequence[str], most: int = 3) -> str:
    """Write words as a list, few of many: a, b, c and 147 more."""
    if len(words) <= most + 1:
        return listed(list(words))
    return f"{', '.join(words[:most])} and {count(len(words) - most)} more"


def count(value: float) -> str:
    """Write a whole number with its thousands apart."""
    return f"{value:,.0f}"
