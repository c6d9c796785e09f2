"""The one kind of error that a user can mend."""


class BenchmarkError(Exception):
    """A mistake or a missing thing, told in one plain message: the thing, its value, and what to do."""


def in_one_line(error: Exception) -> str:
    """Return an error's message as one line for a table, cut where it runs on."""
    return " ".join(str(error).split())[:500]
