"""The gates' judges, by theme: each takes a record, and says whether a gate passed and why."""

# Whether a gate passed, None where it cannot be judged; and a sentence that says why.
Verdict = tuple[bool | None, str]
