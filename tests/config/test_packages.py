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

from epochbench.timing import frameworks
from epochbench.timing.frameworks.environments import environments


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


FRAMEWORKS = REPOSITORY / "workflow/envs/frameworks"
LISTS = sorted(FRAMEWORKS.glob("*.in"))


def test_condas_environments_of_frameworks_are_derived_from_their_lists(derive):
    lists = derive.named_frameworks(REPOSITORY)
    assert [path.stem for path in lists] == sorted(path.stem for path in FRAMEWORKS.glob("*.yaml"))
    for path in lists:
        text = path.with_suffix(".yaml").read_text()
        expected = derive.derived_framework(path.stem, path.read_text(), path.with_suffix(".txt").read_text())
        assert text == expected, f"{path.stem}.yaml: run make requirements"
        assert "python >=3.11" in yaml.safe_load(text)["dependencies"]


def test_every_framework_has_pins_and_what_its_process_imports():
    for environment in environments():
        assert (FRAMEWORKS / f"{environment}.txt").exists()
    for path in LISTS:
        text = path.read_text()
        known = {re.split(r"[ ;\[]", line)[0] for line in text.splitlines() if not line.startswith("#")}
        assert {"numpy", "nvidia-ml-py", "psutil", "safetensors", "tqdm", "uv"} <= known
        assert known <= set(re.findall(r"^([a-z0-9-]+)==", path.with_suffix(".txt").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["requirements.txt", *(f"workflow/envs/frameworks/{path.stem}.txt" for path in LISTS)])
def test_every_package_is_pinned_with_hashes_and_no_address(name):
    text = (REPOSITORY / name).read_text()
    assert named() <= set(pins()) or name != "requirements.txt"
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
        "snakemake_executor_plugin_slurm": "snakemake-executor-plugin-slurm",
    }
    sources = [*(REPOSITORY / "workflow").rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    tests = {part for path in (REPOSITORY / "tests").rglob("*.py") for part in (path.stem, path.parent.name)}
    with_the_driver = {"amdsmi"}
    known = {"epochbench", "blocks", "snakemake", "__future__", *tests, *with_the_driver, *sys.stdlib_module_names}
    # A framework's file is imported in an environment of its own alone.
    of_frameworks = {name for framework in frameworks.names()[1:] for name in frameworks.packages(framework)}
    folder = REPOSITORY / "workflow/scripts/epochbench/timing/frameworks"
    for source in sources:
        found = set(re.findall(r"^\s*(?:import|from) (\w+)", source.read_text(), re.MULTILINE))
        foreign = {modules.get(name, name) for name in found - known}
        assert foreign <= named() | (of_frameworks if source.parent == folder else set()), source


# Pins that have no wheel: README says that Python 3.14 needs a compiler for now. The other one is Python alone.
BUILT = {"3.11": ["connection-pool"], "3.12": ["connection-pool"], "3.13": ["connection-pool"],
         "3.14": ["connection-pool", "immutables"]}  # fmt: skip
SYSTEMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")
# What workflow/setup.sh installs before everything else.
FIRST = {"uv", "pip", "setuptools"}


@pytest.mark.deep
@pytest.mark.parametrize("version", BUILT)
@pytest.mark.parametrize("system", SYSTEMS)
def test_the_pins_can_be_installed_where_readme_says(tmp_path, version, system):
    """For every package there is a file that this Python takes on this system, and its hash is pinned."""
    built, chosen = BUILT[version], tmp_path / "pylock.toml"
    compiled = ["compile", "--no-python-downloads", "--format", "pylock.toml", "--output-file", chosen]
    asked(version, system, compiled, built, "requirements.txt")
    packages, pinned = tomllib.loads(chosen.read_text())["packages"], hashes()
    assert named(for_every_python=True) | FIRST <= {package["name"] for package in packages}
    for package in packages:
        files = [package["sdist"]] if package["name"] in built else package["wheels"]
        assert files, package["name"]
        of_pin = pinned[f"{package['name']}=={package['version']}"]
        assert {file["hashes"]["sha256"] for file in files} <= of_pin, package["name"]


@pytest.mark.deep
@pytest.mark.parametrize(
    ("name", "system"),
    [
        (path.stem, system)
        for path in LISTS
        for system in SYSTEMS
        if not (path.stem.endswith("-cuda") and "darwin" in system)
    ],
)
def test_the_frameworks_pins_can_be_installed_where_their_page_says(tmp_path, name, system):
    bound = re.search(r"^# python < 3\.(\d+)$", (FRAMEWORKS / f"{name}.in").read_text(), re.MULTILINE)
    install = ["install", "--dry-run", "--require-hashes", "--target", tmp_path / "nothing", "-r"]
    for minor in (11, int(bound[1]) - 1 if bound else 14):
        told = asked(f"3.{minor}", system, install, [], f"workflow/envs/frameworks/{name}.txt")
        assert int(re.search(r"Would install (\d+) packages", told)[1]) >= 20


def hashes():
    """Return the hashes of every pinned package, by its name and version."""
    blocks = re.split(r"\n(?=[a-z0-9-]+==)", (REPOSITORY / "requirements.txt").read_text().strip())
    return {block.split()[0]: set(re.findall("sha256:([0-9a-f]{64})", block)) for block in blocks}


def asked(version, system, command, built, pins):
    """Ask uv about some pins for a Python and a system, of wheels alone but for what is built; return what it says."""
    functions = runpy.run_path(str(REPOSITORY / "workflow/uv_install.py"))
    variables, options = functions["translated"](functions["pip_settings"]())  # the index that pip is configured for
    outcome = subprocess.run(
        [uv.find_uv_bin(), "pip", command[0], "--no-config", "--index-strategy", "unsafe-best-match", *options,
         "--python", sys.executable, "--python-version", version, "--python-platform", system,
         "--only-binary", ":all:", *[word for name in built for word in ("--no-binary", name)], *command[1:], pins],
        env=os.environ | {"UV_SYSTEM_CERTS": "1", "MACOSX_DEPLOYMENT_TARGET": "14.0"} | variables,
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if re.search("error sending request|Failed to fetch", outcome.stderr):
        pytest.skip(f"no index can be reached: {outcome.stderr.splitlines()[-1]}")
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stderr
