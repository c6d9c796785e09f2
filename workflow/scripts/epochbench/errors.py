"""The one kind of error that a user can mend."""


class BenchmarkError(Exception):
    """A mistake or a missing thing, told in one plain message: the thing, its value, and what to do."""
