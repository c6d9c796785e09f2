"""What each maker's driver tells of its accelerators, without torch."""

import os
from collections.abc import Iterable

from epochbench.timing.record import Gpu

# What hides every card, in any of the variables that choose them.
NONE_AT_ALL = ("", "-1")


def all_hidden(variables: Iterable[str]) -> bool:
    """Tell whether one of some environment variables hides every card."""
    return any(os.environ.get(name, "0").strip() in NONE_AT_ALL for name in variables)


def chosen_by(variables: Iterable[str], word: str, every: Iterable[Gpu]) -> tuple[Gpu, ...]:
    """Return the cards that some environment variables do not hide.

    A card is named by the beginning of its identity, which begins with `word`. Numbers hide none here: libraries count
    the cards in orders of their own, so that nobody knows which they mean.
    """
    cards = () if all_hidden(variables) else tuple(every)
    for variable in variables:
        names = [name.strip() for name in os.environ.get(variable, "").split(",")]
        if names[0].startswith(word):
            cards = tuple(gpu for name in names for gpu in cards if name and (gpu.uuid or "").startswith(name))
    return cards
