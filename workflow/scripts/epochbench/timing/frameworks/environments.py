"""Where the other frameworks live: the interpreter of each, whether it is there, and the versions beside it.

Nothing of a framework is imported, and none of its interpreters started, so that the Snakefile can ask too. In this
order: the interpreter that the config names (frameworks.interpreters), the environment that `make frameworks` made
below .frameworks/, and this interpreter itself, where the framework is installed beside torch.
"""

import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from epochbench.errors import BenchmarkError
from epochbench.timing.frameworks import TORCH, environment, names, packages

# Above workflow/.
HOME = Path(__file__).parents[5]
PINS = HOME / "workflow" / "envs" / "frameworks"
MADE = Path(".frameworks")
# A folder that has the environments instead, such as another clone's; and, with an environment's name behind it, the
# interpreter of that one alone.
ELSEWHERE, ALONE = "EPOCHBENCH_FRAMEWORKS", "EPOCHBENCH_FRAMEWORK_"
# The pins that an environment was made from, written last of all; what a set-up leaves that was broken off.
MADE_FROM, UNFINISHED = "made-from.txt", ".unfinished"
# A package may have another name for each kind of build.
BUILDS = ("", "-cpu", "-gpu", "-rocm", "-macos")
# These bring packages and change no timing.
INSTALLERS = ("pip", "uv")
VERSIONED = re.compile(r"([A-Za-z0-9._]+?)-(\d[^-]*)(?:-py\d[^-]*)?\.(?:dist|egg)-info")


@dataclass(frozen=True)
class Place:
    """Where a framework's interpreter should be. `folder` is None where it is the one that runs this."""

    python: Path
    folder: Path | None
    named: bool = False


def environments() -> dict[str, tuple[str, ...]]:
    """Return the frameworks that live in each environment, by its name."""
    found: dict[str, tuple[str, ...]] = {}
    for framework in names():
        if framework != TORCH:
            found[environment(framework)] = (*found.get(environment(framework), ()), framework)
    return found


def name_interpreters(interpreters: dict[str, str]) -> None:
    """Have this process and its children use these interpreters, by the names of their environments.

    A relative path is below the working directory. No link is followed: it is by its link that a virtual environment
    knows itself.
    """
    for name, python in interpreters.items():
        os.environ[_variable(name)] = str(Path(python).expanduser().absolute())


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
    place = _place(framework)
    if place.folder and (why := _why_not_made(place, environment(framework), device)):
        return why
    return _why_not_in(_versions_at(place) if place.folder or beside else {}, place, framework)


def installed(framework: str) -> dict[str, str]:
    """Return the versions of everything in a framework's environment, by name, as far as reading tells.

    That is all of it, since a framework's speed is that of the libraries beside it too. Of torch, and of a framework
    that is missing, it is nothing.
    """
    if framework == TORCH or why_missing(framework):
        return {}
    place = _place(framework)
    return {"interpreter": str(place.python)} | _versions_at(place)


def _variable(name: str) -> str:
    return ALONE + name.upper().replace("-", "_")


def _place(framework: str) -> Place:
    name = environment(framework) if framework != TORCH else ""
    if named := name and os.environ.get(_variable(name)):
        return Place(Path(named), Path(named).parent.parent, named=True)
    elsewhere = os.environ.get(ELSEWHERE)
    for root in [Path(elsewhere)] if elsewhere else [Path.cwd() / MADE, HOME / MADE]:
        if name and (root / name).exists():
            return Place(root / name / "bin" / "python", root / name)
    return Place(Path(sys.executable), None)


def _why_not_made(place: Place, name: str, device: str) -> str | None:
    """Return what is wrong with an environment as a whole, None where nothing is."""
    folder, make = place.folder, _make(name)
    if place.named and not _is_program(place.python):
        told = f"there is no interpreter {place.python}, which frameworks.interpreters or {_variable(name)} names"
        return f"{told}; correct it, or name none and type {make}"
    if not place.named and (folder / UNFINISHED).exists():
        return f"{folder} was broken off while it was made; {make} goes on"
    if not _is_program(place.python):
        return f"{place.python} is gone; {make} makes it anew"
    pins = {build: PINS / f"{name}{build}.txt" for build in ("", "-cuda")}
    if not (folder / MADE_FROM).exists() or not pins[""].exists():
        return None
    made_from = (folder / MADE_FROM).read_bytes()
    build = next((build for build, path in pins.items() if path.exists() and path.read_bytes() == made_from), None)
    if build is None:
        return f"{folder} was made from other pins than there are now; {make} makes it anew"
    if device == "gpu" and build == "" and pins["-cuda"].exists():
        return f"{folder} was made without CUDA; {make} CUDA=1 makes it anew"
    return None


def _is_program(path: Path) -> bool:
    """Tell whether a path leads to a file that may be run: a folder, such as an environment's, may be "run" as well."""
    return path.is_file() and os.access(path, os.X_OK)


def _why_not_in(versions: dict[str, str], place: Place, framework: str) -> str | None:
    """Return which package is not there or too old, None where nothing is wrong or where reading does not tell."""
    make = _make(environment(framework))
    for package, lowest in packages(framework).items():
        version = _version(versions, package)
        if version is None and place.folder is None:
            return _not_installed(framework)
        if version is None and _tells_all(place.folder):
            told = f"{package}, which framework {framework} needs, is not installed in {place.folder}"
            return f"{told}; {make} installs it, or frameworks.interpreters names another Python"
        if version and _numbers(version) < _numbers(lowest):
            where = place.folder or sys.prefix
            return f"{package} {version} in {where} is too old, it needs {lowest} or later; {make} installs it"
    return None


def _not_installed(framework: str) -> str:
    """Return where a framework is missed; what is made here is not found while a variable names another folder."""
    make = _make(environment(framework))
    if elsewhere := os.environ.get(ELSEWHERE):
        there = Path(elsewhere) / environment(framework)
        told = f"there is no {there}, where {ELSEWHERE} has framework {framework} looked for"
        return f"{told}; correct that variable, or unset it and type {make}"
    return f"framework {framework} is not installed; {make} installs it"


def _make(name: str) -> str:
    return f"make frameworks FRAMEWORKS={name}"


def _versions_at(place: Place) -> dict[str, str]:
    if place.folder is None:
        return _versions(Path(path) for path in sys.path if path)
    settings = place.folder / "pyvenv.cfg"
    python = re.findall(r"^version\w* *= *(\S+)", settings.read_text(), re.MULTILINE) if settings.exists() else []
    found = _versions(sorted(place.folder.glob("lib*/python3*/*-packages")))
    return found | ({"Python": python[0]} if python else {})


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
            entries = sorted(path.name for path in folder.iterdir())
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
