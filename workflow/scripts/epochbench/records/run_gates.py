"""Gates on the runs of one cell together: one stack, and a spread that something explains."""

from epochbench.records.gates import HARD, SOFT
from epochbench.stats import relative_spread
from epochbench.timing.record import Finding, Record, Stack

MAX_RUN_SPREAD = 0.1


def one_stack(records: list[Record]) -> Finding:
    """All runs of a cell were timed with the same software and settings: torch, CUDA, driver, Python, protocol."""
    stacks = [record.stack for record in records]
    if None in stacks:
        return Finding("one stack", HARD, None, "A record does not say what software it was timed with.")
    facts = {key: list(dict.fromkeys(stack.facts.get(key, "none") for stack in stacks)) for key in _keys(stacks)}
    differing = [f"{key} {' and '.join(values)}" for key, values in facts.items() if len(values) > 1]
    sentence = f"Runs with {'; '.join(differing)}: delete the older ones and run again."
    if not differing:
        sentence = f"All runs with torch {stacks[0].facts.get('torch', 'unknown')} and the same settings."
    return Finding("one stack", HARD, not differing, sentence)


def _keys(stacks: list[Stack]) -> list[str]:
    return list(dict.fromkeys(key for stack in stacks for key in stack.facts))


def repeatable(samples: list[list[float]], disturbed: int) -> Finding:
    """The runs of a cell agree, or something is known that disturbed them."""
    spread = relative_spread(samples)
    if spread is None:
        return Finding("repeatable", SOFT, None, "A single run has nothing to agree with.")
    if disturbed:
        return Finding(
            "repeatable", SOFT, None, f"Not judged: {disturbed} of the {len(samples)} runs that count were disturbed."
        )
    sentence = (
        f"The medians of the {len(samples)} runs that count spread by {spread:.1%} (at most {MAX_RUN_SPREAD:.0%})"
    )
    unexplained = "" if spread <= MAX_RUN_SPREAD else ", and no condition explains it"
    return Finding("repeatable", SOFT, spread <= MAX_RUN_SPREAD, f"{sentence}{unexplained}.")
