"""The frameworks that train beside torch: one file each, found by its name."""

from pathlib import Path

TORCH = "torch"


def names() -> tuple[str, ...]:
    """Return the words of the sheet's column `framework`: torch, and a word a file."""
    files = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return TORCH, *(name.replace("_", "-") for name in files)
