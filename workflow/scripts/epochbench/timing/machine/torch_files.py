"""The torch that is installed, read from its files: the Snakefile asks what it is built for without importing it."""

import importlib.util
import re
from contextlib import suppress
from functools import cache
from pathlib import Path

# What torch's build writes down of itself.
VERSIONS, CONFIG = "version.py", "include/ATen/Config.h"
ONEDNN = "#define AT_MKLDNN_ENABLED() 1"


@cache
def folder() -> Path | None:
    """Return where torch is installed, None where this Python has none: jobs may have an environment of their own."""
    with suppress(ImportError, ValueError, AttributeError):
        return Path(importlib.util.find_spec("torch").origin).parent
    return None


def built_for(platform: str) -> str | None:
    """Return the version of a platform that torch is built for, by torch's word for it; None where it is not."""
    found = re.search(rf"^{platform}\b[^=\n]*= *['\"]([^'\"]+)", _text(VERSIONS), re.MULTILINE)
    return found and found[1]


def without(platform: str, name: str, device: str) -> str | None:
    """Return in words that a device is of no use to this torch, None where it is built for it."""
    if built_for(platform):
        return None
    if folder() is None:
        return f"there is {device}, but nobody here can tell whether the jobs' torch is built for {name}"
    return f"there is {device}, but torch here is not built for {name}"


def lacks_onednn() -> bool:
    """Tell whether torch is known to be built without oneDNN."""
    text = _text(CONFIG)
    return bool(text) and ONEDNN not in text


def _text(name: str) -> str:
    """Return the text of one of torch's files; an empty one where there is none."""
    with suppress(OSError, TypeError):
        return (folder() / name).read_text()
    return ""
