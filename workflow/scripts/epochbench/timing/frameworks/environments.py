"""Where the interpreter of a framework is."""

import os
import sys
from importlib import metadata
from pathlib import Path

from epochbench.timing import frameworks

# Above workflow/.
HOME = Path(__file__).parents[5]
FOLDER = ".frameworks"
# A folder with an environment for each framework, elsewhere than in the repository.
VARIABLE = "EPOCHBENCH_FRAMEWORKS"


def interpreter_of(framework: str) -> Path | None:
    """Return the interpreter of a framework's environment, None where it is not installed.

    That is the one which was made for it, or else this process's own where it has the framework's packages.
    """
    name = frameworks.environment(framework)
    folders = [Path(os.environ[VARIABLE])] if os.environ.get(VARIABLE) else []
    for folder in (*folders, Path.cwd() / FOLDER, HOME / FOLDER):
        interpreter = folder / name / "bin" / "python"
        if interpreter.exists():
            return interpreter
    return Path(sys.executable) if all(map(_is_installed, frameworks.packages(framework))) else None


def _is_installed(package: str) -> bool:
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False
