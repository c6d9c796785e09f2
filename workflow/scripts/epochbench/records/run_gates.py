"""Gates on the runs of one cell together: one stack, and a spread that something explains."""

from epochbench.records.gates import HARD, SOFT
from epochbench.stats import relative_spread
from epochbench.timing.record import Finding, Record
from epochbench.timing.stack import fact_of

MAX_RUN_SPREAD = 0.1


def one_stack(records: list[Record]) -> Finding:
    """All runs of a cell were timed with the same software and settings: torch, CUDA, driver, Python, protocol.

    Of records before version 4 the versions are known, and not the settings.
    """
    stacks = [record.stack for record in records if record.stack]
    whole = len(stacks) == len(records)
    facts = [stack.facts for stack in stacks] if whole else [_versions(record) for record in records]
    differing = [f"{key} {' and '.join(values)}" for key, values in _values(facts).items() if len(values) > 1]
    if differing:
        sentence = f"Runs with {'; '.join(differing)}: delete the older ones and run again."
        return Finding("one stack", HARD, False, sentence)
    # Keras has one version, whatever it runs on.
    package = records[0].cell.framework.split("-")[0]
    said = f"All runs with {package} {facts[0].get(package, 'unknown')}"
    if whole:
        return Finding("one stack", HARD, True, f"{said} and the same settings.")
    return Finding("one stack", HARD, None, f"{said}; an older record does not say with what settings.")


def _versions(record: Record) -> dict[str, str]:
    machine = record.machine
    driver = {"driver": machine.gpu.driver or "unknown"} if machine.gpu else {}
    return {"Python": machine.python, "torch": machine.torch, "CUDA": machine.cuda or "none"} | driver


def _values(facts: list[dict[str, str]]) -> dict[str, list[str]]:
    """Return the different values of each fact, those that are known."""
    names = dict.fromkeys(name for each in facts for name in each)
    told = {name: dict.fromkeys(fact_of(each, name) for each in facts) for name in names}
    return {name: [value for value in values if value is not None] for name, values in told.items()}


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
