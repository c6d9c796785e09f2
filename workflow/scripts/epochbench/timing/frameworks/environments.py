"""Where the other frameworks live: the interpreter of each, whether it is there, and the versions beside it.

Nothing of a framework is imported, and none of its interpreters started, so that the Snakefile can ask too. In this
order: the interpreter that the config names (frameworks.interpreters), the environment that `make frameworks` made
below .frameworks/, and this interpreter itself, where the framework is installed beside torch.
"""

import ast
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from epochbench import foreign
from epochbench.errors import BenchmarkError
from epochbench.timing.frameworks import FOLDER, TORCH, names

# Above workflow/.
HOME = Path(__file__).parents[5]
MADE = Path(".frameworks")
PINS = HOME / "workflow" / "envs" / "frameworks"
# The pins that an environment was made from, written last of all; the log of a set-up, there from the start.
MADE_FROM, LOG = "made-from.txt", "setup.log"
# A framework's package may have another name for each kind of build.
BUILDS = ("", "-cpu", "-gpu", "-rocm", "-macos")
# These bring packages and change no timing.
INSTALLERS = ("pip", "uv")
VERSIONED = re.compile(r"([A-Za-z0-9._]+?)-(\d[^-]*)(?:-py\d[^-]*)?\.(?:dist|egg)-info")


@dataclass(frozen=True)
class Declared:
    """What a framework's file says: its environment, the packages that it cannot do without, the first one's age."""

    environment: str
    packages: tuple[str, ...]
    minimum: str | None


@dataclass(frozen=True)
class Place:
    """Where a framework's interpreter should be: the environment's folder, None where it is the one that runs this.

    `named` tells that a person named it.
    """

    python: Path
    folder: Path | None
    named: bool = False


def declared(framework: str) -> Declared:
    """Return what a framework's file declares, without running it. Raises BenchmarkError where it does not."""
    file = f"{framework.replace('-', '_')}.py"
    constants = {}
    for statement in foreign.parsed(FOLDER / file, f"frameworks/{file}").body:
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            constants[statement.targets[0].id] = statement.value
    environment = _word(file, "ENVIRONMENT", constants)
    packages = _word(file, "PACKAGE", constants, several=True)
    minimum = _word(file, "MINIMUM", constants) if "MINIMUM" in constants else None
    return Declared(environment, (packages,) if isinstance(packages, str) else packages, minimum)


def _word(file: str, key: str, constants: dict[str, ast.expr], several: bool = False):
    try:
        value = ast.literal_eval(constants[key])
    except (KeyError, ValueError, TypeError):
        value = None
    words = value if several and isinstance(value, tuple) and value else (value,)
    if not all(isinstance(word, str) and word for word in words):
        raise BenchmarkError(f'frameworks/{file}: {key} must be a word in quotes, such as {key} = "jax"')
    return value


def environments() -> dict[str, tuple[str, ...]]:
    """Return the frameworks that live in each environment, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for framework in names():
        if framework != TORCH:
            environment = declared(framework).environment
            found[environment] = (*found.get(environment, ()), framework)
    return found


def variable_of(environment: str) -> str:
    """Return the environment variable that names an environment's interpreter."""
    return f"EPOCHBENCH_FRAMEWORK_{environment.upper().replace('-', '_')}"


def name_interpreters(interpreters: dict[str, str]) -> None:
    """Have this process and its children use these interpreters, by the names of their environments.

    A relative path is below the working directory. No link is followed: it is by its link that a virtual environment
    knows itself.
    """
    for environment, python in interpreters.items():
        os.environ[variable_of(environment)] = str(Path(python).expanduser().absolute())


def interpreter_of(framework: str) -> Path | None:
    """Return the interpreter that a framework's cells are trained in, None where `why_missing` has a reason."""
    return None if why_missing(framework) else _place(framework).python


def needed_interpreter(framework: str) -> Path:
    """Return a framework's interpreter. Raises BenchmarkError, with the remedy, where there is none that will do."""
    if why := why_missing(framework):
        raise BenchmarkError(why)
    return _place(framework).python


def why_missing(framework: str, device: str = "cpu", beside: bool = True) -> str | None:
    """Return in words why a framework cannot train here, and what to do, None where it can as far as reading tells.

    Where `beside` is false, jobs run in another interpreter than this one, so that what is installed here is no help.
    """
    if framework == TORCH:
        return None
    place, wanted = _place(framework), declared(framework)
    if place.folder and (why := _why_not_made(place, wanted.environment, device)):
        return why
    versions = _versions_at(place) if place.folder or beside else {}
    remedy = f"{_make(wanted.environment)} installs it"
    missing = next((name for name in wanted.packages if not _version(versions, name)), None)
    if missing and place.folder is None:
        return f"{missing} is not installed; {remedy}"
    if missing:
        # Of such an interpreter only a job can tell.
        told = f"{missing} is not installed in {place.folder}; {remedy}, or frameworks.interpreters names another"
        return told if _tells_all(place.folder) else None
    version = _version(versions, wanted.packages[0])
    if wanted.minimum and _numbers(version) < _numbers(wanted.minimum):
        return f"{wanted.packages[0]} {version} is older than {wanted.minimum}, the oldest that will do; {remedy} anew"
    return None


def installed(framework: str) -> dict[str, str]:
    """Return the versions of everything in a framework's environment, by name, as far as reading tells.

    That is all of it, since a framework's speed is that of the libraries beside it too. Of torch, and of an
    environment that is not there, it is nothing.
    """
    if framework == TORCH or why_missing(framework):
        return {}
    place = _place(framework)
    return {"interpreter": str(place.python)} | _versions_at(place)


def _place(framework: str) -> Place:
    if framework == TORCH:
        return Place(Path(sys.executable), None)
    environment = declared(framework).environment
    if named := os.environ.get(variable_of(environment)):
        return Place(Path(named), Path(named).parent.parent, named=True)
    for root in (Path.cwd(), HOME):
        folder = root / MADE / environment
        if folder.exists():
            return Place(folder / "bin" / "python", folder)
    return Place(Path(sys.executable), None)


def _why_not_made(place: Place, environment: str, device: str) -> str | None:
    """Return what is wrong with an environment as a whole, None where nothing is."""
    folder, make = place.folder, _make(environment)
    if place.named and not os.access(place.python, os.X_OK):
        return (
            f"the interpreter {place.python}, named by frameworks.interpreters or {variable_of(environment)}, is not "
            f"there; correct it, or name none and type {make}"
        )
    if (folder / LOG).exists() and not (folder / MADE_FROM).exists():
        return f"{folder} was broken off while it was made; {make} goes on"
    if not os.access(place.python, os.X_OK):
        return f"{place.python} is gone; {make} makes it anew"
    pins = {build: PINS / f"{environment}{build}.txt" for build in ("", "-cuda")}
    if not (folder / MADE_FROM).exists() or not pins[""].exists():
        return None
    made_from = (folder / MADE_FROM).read_bytes()
    build = next((name for name, path in pins.items() if path.exists() and path.read_bytes() == made_from), None)
    if build is None:
        return f"{folder} was made from other pins than those of today; {make} makes it anew"
    if device == "gpu" and build == "" and pins["-cuda"].exists():
        return f"{folder} was made without CUDA; {make} CUDA=1 makes it anew"
    return None


def _make(environment: str) -> str:
    return f"make frameworks FRAMEWORKS={environment}"


def _versions_at(place: Place) -> dict[str, str]:
    if place.folder is None:
        return _versions(Path(path) for path in sys.path if path)
    settings = place.folder / "pyvenv.cfg"
    python = re.findall(r"^version\w* *= *(\S+)", settings.read_text(), re.MULTILINE) if settings.exists() else []
    packages = _versions(sorted(place.folder.glob("lib*/python3*/*-packages")))
    return packages | {"Python": version for version in python}


def _tells_all(folder: Path) -> bool:
    """Tell whether every package of an environment lies in its own folder, where reading finds it.

    So it is in a virtual environment and in one of conda's. Of others, such as a system's own Python or a script that
    starts one, only running them would tell.
    """
    settings = folder / "pyvenv.cfg"
    if settings.exists():
        return not re.search(r"(?m)^include-system-site-packages *= *true", settings.read_text())
    return (folder / "conda-meta").is_dir()


def _versions(folders: Iterable[Path]) -> dict[str, str]:
    """Return the version of each package that left its mark in one of some folders, the first one's where several."""
    found: dict[str, str] = {}
    for folder in folders:
        try:
            entries = sorted(os.listdir(folder))
        except OSError:
            continue
        for match in filter(None, map(VERSIONED.fullmatch, entries)):
            found.setdefault(_plain(match[1]), match[2])
    return {name: version for name, version in found.items() if name not in INSTALLERS}


def _version(versions: dict[str, str], package: str) -> str | None:
    """Return the version of a package, whichever of its builds is there."""
    return next((versions[name] for build in BUILDS if (name := _plain(package) + build) in versions), None)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]
