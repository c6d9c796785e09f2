"""The last word: the answer in two lines, and what makes a run end with an error."""

from epochbench import wording
from epochbench.aggregate.standings import Frameworks
from epochbench.aggregate.summary import CellSummary, Headline, Summary
from epochbench.records import gates


def answer(
    headline: Headline | None, cells: list[CellSummary], notes: list[str], frameworks: Frameworks | None = None
) -> list[str]:
    """Return the answer in two lines: the plain sentence, then intervals, cells and what else must be said."""
    first = headline.plain if headline else "There are not two comparable cells yet, so there is no speedup."
    second = headline.details if headline else []
    which = frameworks.sentences if frameworks else []
    return [first, " ".join(second + which + without_wrong(cells) + notes)]


def without_wrong(cells: list[CellSummary]) -> list[str]:
    """Return a sentence on the cells that failed a hard gate; nothing where none did."""
    wrong = [row.cell for row in cells if not row.valid]
    return [f"Left out because a hard gate failed: {wording.some(wrong)}."] if wrong else []


def failures(summary: Summary) -> list[str]:
    """Return a line for each hard gate that failed (cell, gate and why) and each broken record of this machine."""
    broken = [f"{file.file}: {file.reason}" for file in summary.left_out if not file.imported]
    return broken + [
        f"{row.cell}: {finding.gate}: {finding.sentence}"
        for row in summary.cells
        for finding in row.gates
        if finding.severity == gates.HARD and finding.passed is False
    ]
