"""The second stage's plan: what was decided from the first runs, and what came of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from epochbench import wording
from epochbench.files import write_json
from epochbench.stats import Interval


@dataclass(frozen=True)
class Plan:
    """How many runs each cell has in the end, first ones included, and a sentence that says why.

    `baseline` and `best` are the headline's cells by the first runs: they stay so, whatever the further runs show.
    """

    runs: dict[str, int]
    sentence: str
    baseline: str = ""
    best: str = ""
    further: bool = False

    def closing(self, ratio: Interval | None) -> str:
        """Return what came of the plan, by the headline's interval in the end."""
        if not self.further or ratio is None or ratio.low is None:
            return self.sentence
        return f"{self.sentence} With what was timed since, it is within {within(ratio.high / ratio.estimate - 1)}."


def within(relative: float) -> str:
    """Write how far an interval reaches: a percentage, or a factor where that says more."""
    if relative >= 1:
        return f"a factor of {wording.significant(1 + relative, 2)}"
    return f"\N{PLUS-MINUS SIGN}{wording.significant(relative * 100, 2)} %"


def write_plan(path: str | Path, plan: Plan) -> None:
    """Write a plan as JSON."""
    write_json(path, asdict(plan))


def read_plan(path: str | Path) -> Plan | None:
    """Return the plan in a file; None where nothing was planned yet, or by a version that kept less of it."""
    try:
        return Plan(**json.loads(Path(path).read_text()))
    except (OSError, ValueError, TypeError):
        return None
