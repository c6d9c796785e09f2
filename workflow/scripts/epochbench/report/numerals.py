"""Columns of numbers that stand under each other by their points: HTML has no alignment for that."""

import re
from dataclasses import dataclass

# A number and whatever stands behind it: its unit, its interval.
NUMBER = re.compile(r"(?P<whole>[-\N{MINUS SIGN}]?\d[\d,]*)(?P<fraction>\.\d+)?(?P<rest>[^\d].*)?", re.DOTALL)

# Letters that a line of a table's cell may have.
LONG = 28


@dataclass(frozen=True)
class Column:
    """A table's column."""

    name: str
    whole: int  # characters before the point at most; 0 where it holds no numbers
    long: bool  # whether a text in it is better broken than kept in a line


def columns(rows: list[dict[str, str]]) -> list[Column]:
    """Return the columns of a table, whose rows all have the same keys.

    A column holds numbers where at least half of its filled cells begin with one.
    """
    return [_column(name, [row[name] for row in rows]) for name in rows[0]]


def _column(name: str, values: list[str]) -> Column:
    filled = [value for value in values if value]
    found = [match for match in map(NUMBER.fullmatch, filled) if match]
    if not found or len(found) * 2 < len(filled):
        return Column(name, 0, any(len(value) > LONG for value in values))
    return Column(name, max(len(match["whole"]) for match in found), False)


def parts(value: str) -> dict[str, str] | None:
    """Return a number's whole part, its fraction with the point, and the rest; None where it is none."""
    found = NUMBER.fullmatch(value)
    return {name: text or "" for name, text in found.groupdict().items()} if found else None
