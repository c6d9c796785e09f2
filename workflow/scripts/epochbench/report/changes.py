"""The figure of a comparison with an export: how many times as fast each cell is now."""

import matplotlib.pyplot as plt

from epochbench import wording
from epochbench.aggregate.compare import Comparison
from epochbench.report.lettering import drawn_names
from epochbench.report.style import (
    COLOURS,
    GREY,
    INK,
    PHONE_INCHES,
    RULE,
    WIDTH_INCHES,
    Figure,
    as_svg,
    interval_mark,
    phone_rows,
    plain_log_axis,
    row_above,
    row_inches,
    themed,
    value_beside,
)

AXIS = "times as fast as then (log scale): right of 1x is faster now"
LABEL_INCHES, LABEL_POINTS, LABEL_LINES = 3.3, 9.2, 4
INKS = {"FASTER": COLOURS["cpu"], "SLOWER": COLOURS["gpu"]}


def draw_changes(comparisons: list[Comparison]) -> Figure | None:
    """Return both forms of the figure: a ratio and its interval for each cell that was compared; None without any."""
    compared = [one for one in comparisons if one.ratio]
    if not compared:
        return None
    with themed():
        return Figure(as_svg(_wide(compared)), as_svg(_narrow(compared)))


def _wide(compared: list[Comparison]):
    names = drawn_names(_names(compared), LABEL_INCHES, LABEL_POINTS, LABEL_LINES)
    height = 1 + row_inches(names, LABEL_POINTS) * len(compared)
    figure, axes = plt.subplots(figsize=(WIDTH_INCHES, height), layout="constrained")
    for position, one in enumerate(compared):
        interval_mark(axes, position, one.ratio, INKS.get(one.verdict, GREY))
        value_beside(axes, position, one.ratio.high or one.ratio.estimate, _value(one))
    axes.set_yticks(range(len(compared)), names, fontsize=LABEL_POINTS)
    _frame(axes, compared, WIDTH_INCHES * 0.6, 1.25)
    return figure


def _narrow(compared: list[Comparison]):
    figure, axes, names = phone_rows(_names(compared), [_value(one) for one in compared])
    for position, (name, one) in enumerate(zip(names, compared, strict=True)):
        interval_mark(axes, position, one.ratio, INKS.get(one.verdict, GREY))
        row_above(axes, position, name, _value(one), INK)
    _frame(axes, compared, PHONE_INCHES, 1.0)
    return figure


def _names(compared: list[Comparison]) -> list[tuple[str, str]]:
    return [(one.label, one.cell) for one in compared]


def _value(one: Comparison) -> str:
    return f"{wording.ratio(one.ratio)} {one.verdict}"


def _frame(axes, compared: list[Comparison], inches: float, room: float) -> None:
    """Show 1x in the middle, and room right of the marks for their values: a factor."""
    bounds = [bound for one in compared for bound in (one.ratio.low or one.ratio.estimate, one.ratio.high or 1)]
    most = max(1.05, *bounds, *(1 / bound for bound in bounds))
    axes.axvline(1, color=RULE, linewidth=1, zorder=1)
    axes.set(xscale="log", xlabel=AXIS, xlim=(1 / most**1.1, most**1.1 * room), ylim=(len(compared) - 0.5, -1))
    plain_log_axis(axes, "x", inches)
