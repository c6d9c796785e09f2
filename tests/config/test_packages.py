"""One list of packages, requirements.in, what is derived from it, and that it exists wherever we say so."""

import importlib.util
import os
import re
import runpy
import subprocess
import sys
import tomllib

import pytest
import uv
import yaml
from support import REPOSITORY


@pytest.fixture(scope="module")
def derive():
    """The module that `make requirements` runs."""
    spec = importlib.util.spec_from_file_location("derive", REPOSITORY / "workflow/envs/derive.py")
    sys.modules["derive"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["derive"]


def named(for_every_python=False):
    lines = [line.partition("#")[0].strip() for line in (REPOSITORY / "requirements.in").read_text().splitlines()]
    return {re.split(r"[ ;]", line)[0] for line in lines if line and not (for_every_python and ";" in line)}


def pins():
    text = (REPOSITORY / "requirements.txt").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_condas_environments_are_derived_from_the_one_list(derive):
    texts = [(REPOSITORY / name).read_text() for name in ("requirements.in", "requirements.txt")]
    for name, text in derive.derived(*texts).items():
        assert (REPOSITORY / name).read_text() == text, f"{name}: run make requirements"
        assert yaml.safe_load(text)["dependencies"]


def test_conda_gets_every_package_and_no_kind_of_job_gets_a_tool_of_the_tests(derive):
    text = (REPOSITORY / "requirements.in").read_text()
    known = derive.packages(text)
    assert {package.pip for package in known} == named()
    everything = (REPOSITORY / "environment.yml").read_text()
    assert all(f"- {package.conda or package.pip} " in everything.replace("\n", " ") for package in known)
    tools = {"hypothesis", "pytest", "pytest-xdist", "ruff", "snakefmt", "snakemake", "pip-audit", "snakedeploy"}
    assert not tools & {package.pip for package in known if package.kinds}
    with pytest.raises(ValueError, match="'?trian"):
        derive.packages("numpy # trian")


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
        "PIL": "pillow",
        "pynvml": "nvidia-ml-py",
        "markupsafe": "jinja2",
        "triton": "torch",
        "jsonschema_rs": "jsonschema-rs",
        "axe_playwright_python": "axe-playwright-python",
    }
    sources = [*(REPOSITORY / "workflow").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    ours = {"epochbench", "blocks", "unit", "slurm", "browser", "faults", "gpu", "support", "userland", "snakemake"}
    found = set()
    for source in sources:
        found |= set(re.findall(r"^\s*(?:import|from) (\w+)", source.read_text(), re.MULTILINE))
    foreign = {modules.get(name, name) for name in found - set(sys.stdlib_module_names) - ours - {"__future__"}}
    assert foreign <= named()


# Pins that have no wheel: README says that Python 3.14 needs a compiler for now. The other one is Python alone.
BUILT = {"3.11": ["connection-pool"], "3.12": ["connection-pool"], "3.13": ["connection-pool"],
         "3.14": ["connection-pool", "immutables"]}  # fmt: skip


SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")


@pytest.mark.deep
@pytest.mark.parametrize("version", BUILT)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_pins_can_be_installed_where_readme_says(tmp_path, version, system):
    found = resolve(tmp_path, "requirements.txt", version, system, BUILT[version])
    # What workflow/setup.sh installs before everything else, and then.
    assert {"uv", "pip", "setuptools"} | named(for_every_python=True) <= found


def resolve(tmp_path, pins, version, system, built=(), packages=100):
    """Return the packages that uv would install from pins for a Python and a system, at least so many.

    For each there must be a file that this Python takes on this system, and its hash must be pinned: a dry run of the
    installer would accept another. Nothing is downloaded but what the index says.
    """
    functions = runpy.run_path(str(REPOSITORY / "workflow/uv_install.py"))
    variables, options = functions["translated"](functions["pip_settings"]())  # the index that pip is configured for
    chosen = tmp_path / "pylock.toml"
    outcome = subprocess.run(
        [uv.find_uv_bin(), "pip", "compile", "--no-config", "--index-strategy", "unsafe-best-match", *options,
         "--python", sys.executable, "--no-python-downloads", "--python-version", version, "--python-platform", system,
         "--only-binary", ":all:", *[word for name in built for word in ("--no-binary", name)],
         "--format", "pylock.toml", "--output-file", chosen, pins],
        env=os.environ | {"UV_SYSTEM_CERTS": "1", "MACOSX_DEPLOYMENT_TARGET": "14.0"} | variables,
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if re.search("error sending request|Failed to fetch", outcome.stderr):
        pytest.skip(f"no index can be reached: {outcome.stderr.splitlines()[-1]}")
    assert outcome.returncode == 0, outcome.stderr
    found, hashes = tomllib.loads(chosen.read_text())["packages"], pinned_hashes(pins)
    for package in found:
        files = [package["sdist"]] if package["name"] in built else package["wheels"]
        of_pin = hashes[f"{package['name']}=={package['version']}"]
        assert files, package["name"]
        assert {file["hashes"]["sha256"] for file in files} <= of_pin, package["name"]
    assert len(found) >= packages
    return {package["name"] for package in found}


def pinned_hashes(name):
    """Return the hashes of every pin of a list, by its name and version."""
    blocks = re.split(r"\n(?=[a-z0-9-]+==)", (REPOSITORY / name).read_text().strip())
    return {block.split()[0]: set(re.findall("sha256:([0-9a-f]{64})", block)) for block in blocks}
