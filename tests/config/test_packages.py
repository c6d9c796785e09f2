"""environment.yml, requirements.in and requirements.txt name the same packages."""

import re

import yaml
from support import REPOSITORY

# What conda calls them.
CONDA_NAMES = {"pytorch": "torch", "python-isal": "isal"}


def named():
    lines = (REPOSITORY / "requirements.in").read_text().splitlines()
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def pins():
    text = (REPOSITORY / "requirements.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_conda_and_pip_name_the_same_packages():
    entries = yaml.safe_load((REPOSITORY / "environment.yml").read_text())["dependencies"]
    by_pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    entries = [entry for entry in entries if isinstance(entry, str)] + by_pip
    names = {re.split(r"[ <>=]", entry)[0] for entry in entries} - {"python", "pip"}
    assert {CONDA_NAMES.get(name, name) for name in names} == named()


def test_every_package_is_pinned_with_hashes_and_no_address():
    text = (REPOSITORY / "requirements.txt").read_text()
    assert named() <= set(pins())
    blocks = re.split(r"\n(?=[a-z0-9-]+==)", text.strip())
    assert all("--hash=sha256:" in block for block in blocks)
    assert "index-url" not in text
    assert "://" not in text


def test_every_import_of_the_package_is_a_named_package():
    import sys

    modules = {
        "yaml": "pyyaml",
        "pynvml": "nvidia-ml-py",
        "markupsafe": "jinja2",
        "triton": "torch",
        "jsonschema_rs": "jsonschema-rs",
        "axe_playwright_python": "axe-playwright-python",
    }
    sources = [*(REPOSITORY / "workflow").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    ours = {"epochbench", "unit", "slurm", "browser", "faults", "gpu", "support", "snakemake"}
    found = set()
    for source in sources:
        found |= set(re.findall(r"^\s*(?:import|from) (\w+)", source.read_text(), re.MULTILINE))
    foreign = {modules.get(name, name) for name in found - set(sys.stdlib_module_names) - ours - {"__future__"}}
    assert foreign <= named()
