"""Write environment.yml and the environments beside this file from the lists of packages and their pins.

requirements.in is the list of what runs the workflow; frameworks/ holds one for each environment of other frameworks.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

KINDS = {
    "acquire": "Fetching the archive and cutting it into shards.",
    "train": "Timing a cell: training, and judging its record.",
    "report": "Joining the records, and drawing figures and pages.",
}
HEAD = "# {}\n# Derived from {} by `make requirements`: each package with the major version of its pin.\n"
LIST, FRAMEWORKS = "requirements.in", "workflow/envs/frameworks"
# What runs on several versions that conda may have, by conda's names.
RANGES = {"pytorch": ">=2.11,<3", "snakemake": ">=9.19,<10"}


@dataclass(frozen=True)
class Package:
    """A line of requirements.in: what pip is told, what pip and conda call it, and the kinds of jobs that need it."""

    requirement: str
    pip: str
    conda: str | None
    kinds: tuple[str, ...]


def packages(text: str) -> list[Package]:
    """Return the packages that a list names. Raises ValueError for a word that is no kind of job."""
    found = []
    for line in text.splitlines():
        name, _, words = line.partition("#")
        if name.strip():
            pip = re.split(r"[ ;<>=\[]", name)[0]
            needed, _, conda = words.partition("conda:")
            kinds = tuple(needed.replace(",", " ").split())
            if unknown := set(kinds) - set(KINDS):
                raise ValueError(f"requirements.in, {pip}: {', '.join(unknown)} is none of {', '.join(KINDS)}")
            conda = conda.strip() or pip
            found.append(Package(name.strip(), pip, None if conda == "none" else conda, kinds))
    return found


def derived(requirements: str, pins: str) -> dict[str, str]:
    """Return the text of each environment file by its path in the repository."""
    named = packages(requirements)
    majors = _majors(pins)
    files = {"environment.yml": _everything(named, majors)}
    for kind, meaning in KINDS.items():
        needed = [package for package in named if kind in package.kinds]
        files[f"workflow/envs/{kind}.yaml"] = _environment(meaning, LIST, needed, majors)
    return files


def derived_framework(name: str, requirements: str, pins: str) -> str:
    """Return the text of the environment file of frameworks, from their list, which says first what it is for."""
    meaning = requirements.partition("\n")[0].removeprefix("# ").partition(". ")[0] + "."
    needed = [package for package in packages(requirements) if package.conda]
    return _environment(meaning, f"{name}.in", needed, _majors(pins))


def _majors(pins: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\d+)", pins, re.MULTILINE))


def _environment(meaning: str, source: str, needed: list[Package], majors: dict[str, str]) -> str:
    text = HEAD.format(meaning, source) + "channels:\n  - conda-forge\ndependencies:\n"
    return text + _lines(needed, majors)


def _everything(named: list[Package], majors: dict[str, str]) -> str:
    text = HEAD.format("Everything, for conda: Snakemake, what its jobs need, and the tools of the tests.", LIST)
    text += "name: epochbench\nchannels:\n  - conda-forge\n  - bioconda\ndependencies:\n"
    text += _lines([package for package in named if package.conda], majors) + "  - pip\n"
    text += "  - pip: # not on conda's channels under these names\n"
    return text + "".join(f"      - {package.requirement}\n" for package in named if not package.conda)


def _lines(needed: list[Package], majors: dict[str, str]) -> str:
    specs = [f"{package.conda} {RANGES.get(package.conda, '=' + majors[package.pip])}" for package in needed]
    return "".join(f"  - {spec}\n" for spec in ["python >=3.11", *specs])


def main() -> None:
    """Write every file."""
    root = Path(sys.argv[1])
    for name, text in derived((root / LIST).read_text(), (root / "requirements.txt").read_text()).items():
        (root / name).write_text(text)
    for source in named_frameworks(root):
        text = derived_framework(source.stem, source.read_text(), source.with_suffix(".txt").read_text())
        source.with_suffix(".yaml").write_text(text)


def named_frameworks(root: Path) -> list[Path]:
    """Return the lists of the frameworks' environments; of conda there is none with CUDA, which it adds by itself."""
    return [path for path in sorted((root / FRAMEWORKS).glob("*.in")) if not path.stem.endswith("-cuda")]


if __name__ == "__main__":
    main()
