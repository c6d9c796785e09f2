"""docs/deploy.md, command by command: where there is no clone, no environment, or no file system that is shared."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import textwrap
import zipfile
from hashlib import sha256
from importlib import metadata

import pytest
import yaml
from support import REPOSITORY, with_small_calibrations

TINY = yaml.safe_load((REPOSITORY / ".test/config/config.yaml").read_text()) | {"cells": "config/quick.tsv"}
ONE_CELL = (REPOSITORY / ".test/config/cells.tsv").read_text()
PAGE = "results/report/index.html"
PROGRAMS = {"snakemake": "snakemake.cli", "snakedeploy": "snakedeploy.client"}


def blocks(section):
    """Return the code blocks of a section of docs/deploy.md: its files by name, and its commands."""
    text = (REPOSITORY / "docs/deploy.md").read_text().split(f"\n## {section}\n")[1].split("\n## ")[0]
    files, commands = {}, []
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        block = block.replace("<owner>", "someone").replace("<version>", "v1")
        name = re.match(r"# (\S+)\n", block)
        if name:
            files[name[1]] = block
        else:
            commands += block.splitlines()
    return files, commands


class Site:
    """A folder where somebody types, a git host that has this workflow, and this environment's programs on the PATH."""

    def __init__(self, folder, repository_copy):
        self.folder, self.hub = folder / "typed here", folder / "hub" / "someone" / "epochbench"
        self.folder.mkdir()
        self.environment = {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "GIT_CONFIG_GLOBAL": str(folder / "gitconfig"),
        }
        (folder / "gitconfig").write_text(
            f'[url "file://{folder}/hub/"]\n\tinsteadOf = https://github.com/\n'
            "[user]\n\tname = a\n\temail = a@example.org\n"
        )
        (folder / "bin").mkdir()
        for name, module in PROGRAMS.items():
            program = folder / "bin" / name
            program.write_text(f"#!{sys.executable}\nfrom {module} import main\nmain()\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        with_small_calibrations(repository_copy(self.hub))
        (self.hub / "config/quick.tsv").write_text(ONE_CELL)
        (self.hub / "config/quick.yaml").write_text(json.dumps(TINY))
        for arguments in ("init -q -b main", "add -A", "commit -q -m one", "tag v1"):
            self.type(f"git {arguments}", self.hub)

    def type(self, command, folder=None, **environment):
        """Run a line of shell, which must succeed, and return all that it printed."""
        done = subprocess.run(
            ["bash", "-c", command], cwd=folder or self.folder, env=os.environ | self.environment | environment,
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        said = done.stdout + done.stderr
        assert done.returncode == 0, said
        return said

    def record(self):
        return json.loads((self.folder / "results/train/cpu/cpu-reference/run-1.json").read_text())


@pytest.fixture
def site(tmp_path, repository_copy):
    return Site(tmp_path, repository_copy)


TRACE = """
import atexit, os, sys


def tell():
    names = {name.partition(".")[0] for name, module in list(sys.modules.items()) if "__file__" in dir(module)}
    with open(os.environ["TRACE"] + "/" + os.path.basename(sys.argv[0]), "w") as file:
        file.write(" ".join(names))


if "TRACE" in os.environ and sys.argv[0].endswith(".py"):
    atexit.register(tell)
"""
KIND_OF_SCRIPT = {"acquire": "acquire", "shard": "acquire", "calibrate": "train", "train": "train"}
MODULES = {"pyyaml": "yaml", "nvidia-ml-py": "pynvml", "jsonschema-rs": "jsonschema_rs"}


@pytest.mark.deep
def test_snakedeploy_deploys_it_and_each_job_needs_its_own_environment_alone(site, tmp_path):
    pytest.importorskip("snakedeploy", reason="snakedeploy is not installed")
    _, (deploy, run) = blocks("snakedeploy")
    site.type(deploy)
    assert (site.folder / "profiles/slurm/config.yaml").exists()
    (tmp_path / "trace").mkdir()
    (tmp_path / "sitecustomize.py").write_text(TRACE)
    said = site.type(run, TRACE=str(tmp_path / "trace"), PYTHONPATH=str(tmp_path))
    assert "Timing 1 cells, 1 runs each: cpu-reference." in said
    assert "1 of 1 runs done" in said
    assert "cpu-reference" in (site.folder / PAGE).read_text()
    # Byte for byte the package of the host.
    tell = "from epochbench.timing.provenance import code_digest; print(code_digest('lenet'))"
    hosted = site.type(f'{sys.executable} -c "{tell}"', PYTHONPATH=str(site.hub / "workflow/scripts"))
    assert site.record()["code"]["digest"] == hosted.strip()
    assert site.record()["code"]["commit"] == site.type("git rev-parse v1", site.hub).strip()
    assert not (site.folder / "workflow/scripts").exists()
    lines = (REPOSITORY / "requirements.in").read_text().splitlines()
    needs = {re.split("[ ;]", line)[0]: line.partition("#")[2].split() for line in lines if line[0] != "#"}
    scripts = list((tmp_path / "trace").iterdir())
    assert len(scripts) == 9
    for script in scripts:
        loaded = set(script.read_text().split())
        used = {name for name in needs if MODULES.get(name, name) in loaded} - {"snakemake"}
        kind = KIND_OF_SCRIPT.get(script.name.split(".")[1], "report")
        missing = {name for name in used if kind not in [word.strip(",") for word in needs[name]]}
        assert missing == set(), script.name


@pytest.mark.deep
def test_another_workflow_imports_it_as_a_module(site):
    files, (run,) = blocks("A module of your own workflow")
    # From a path here, since snakedeploy's test imports it from a git host.
    (site.folder / "Snakefile").write_text(
        re.sub(r"github\(.*\)", f'"{site.hub}/workflow/Snakefile"', files["Snakefile"])
    )
    config = yaml.safe_load(files["config.yaml"])
    assert config["epochbench"]["cells"] == TINY["cells"]
    (site.folder / "config.yaml").write_text(json.dumps({"epochbench": TINY}))
    said = site.type("snakemake -n")
    assert "Timing 1 cells, 1 runs each: cpu-reference." in said
    assert not (site.folder / "results").exists()
    said = site.type(run)
    assert said.count("Timing 1 cells, 1 runs each: cpu-reference.") == 1
    assert "1 of 1 runs done" in said
    assert "cpu-reference" in (site.folder / PAGE).read_text()
    assert "Nothing to be done" in site.type("snakemake -n")
    # Downloading and drawing stay on this machine under their new names too.
    away = "--executor cluster-generic --cluster-generic-submit-cmd false --jobs 1 --seconds-between-status-checks 1"
    cores = '--config "epochbench={cluster: {cpu_cores: 1}}"'
    local = site.type(f"snakemake --until epochbench_acquire_archive --forceall {away} {cores}")
    assert re.search(r"Finished jobid: \d+ \(Rule: epochbench_acquire_archive\)", local)


MODULE = """
module epochbench:
    snakefile: "{hub}/workflow/Snakefile"
    config: {config}

"""
ALONE = ["report", "export", "compare", "history"]
# What others look for by its path; train_gpu and calibrate_gpu inherit.
ANEW = ["shard_archive", "draw_samples", "calibrate_gpu", "train_gpu", "aggregate_records", "draw_page", "all"]


def importing(site, *lines):
    """Write a workflow that imports this one, with a cell of each device."""
    (site.folder / "sheet.tsv").write_text(ONE_CELL + "gpu-reference\tgpu\t100\n")
    config = TINY | {"cells": "sheet.tsv", "devices": {"gpu": "require"}}
    (site.folder / "Snakefile").write_text(MODULE.format(hub=site.hub, config=config) + "\n".join(lines) + "\n")


def single_rules():
    """Return the statements of docs/deploy.md that import single rules: those that stand alone, and one anew."""
    text = (REPOSITORY / "docs/deploy.md").read_text()
    (alone,) = re.findall(r"`(use rule report, .*?)`", text)
    (anew,) = re.findall(r"^  ```\n(.*?)^  ```", text, re.MULTILINE | re.DOTALL)
    return alone, textwrap.dedent(anew)


def test_the_targets_that_build_on_no_rule_can_be_imported_by_themselves(site):
    importing(site, single_rules()[0])
    said = site.type(f"snakemake -n {' '.join(f'epochbench_{name}' for name in ALONE)}")
    assert set(re.findall(r"^epochbench_(\w+) +1$", said, re.MULTILINE)) == set(ALONE)


def test_a_target_that_builds_on_rules_which_are_not_imported_says_so(site):
    importing(site, "use rule all from epochbench as epochbench_*")
    assert "write `use rule * from ... as ...` first" in site.type("snakemake -n || true")


def test_any_rule_can_be_imported_anew_after_all_of_them(site):
    documented = single_rules()[1]
    assert "train_cpu" in documented
    others = [documented.replace("train_cpu", name) for name in ANEW]
    importing(site, "use rule * from epochbench as epochbench_*", documented, *others)
    said = site.type("snakemake -n")
    assert said.count("Timing 2 cells, 1 runs each: cpu-reference, gpu-reference.") == 1
    planned = re.findall(r"^epochbench_(\w+) +1$", said, re.MULTILINE)
    assert {"train_cpu", *ANEW, "acquire_archive", "plan_more_runs"} <= set(planned)
    assert said.count("of our own") == 1 + len(ANEW)


@pytest.mark.deep
def test_a_clone_serves_other_folders(site):
    _, (clone, enter, quick, elsewhere) = blocks("A clone")
    site.type(clone)
    # .ci/run types the other command, which sets up an environment.
    assert (enter, quick) == ("cd epochbench", "make quick")
    assert "cpu-reference" in site.type("make dry-run VENV=", site.folder / "epochbench")
    said = site.type(elsewhere)
    assert f"Page: {PAGE}" in said
    assert "cpu-reference" in (site.folder / PAGE).read_text()
    assert not (site.folder / "epochbench/results/report").exists()


SBATCH = """#!/bin/sh
# A job gets a folder of its own, as on a node that shares none, and its environment from here.
for script; do :; done
folder=$(mktemp -d "$NODES/XXXXXX")
cp "$script" "$folder/job.sh"
cd "$folder"
setsid sh -c 'sh job.sh && echo COMPLETED > end || echo FAILED > end' >out 2>&1 </dev/null &
basename "$folder"
"""
SCONTROL = """#!/bin/sh
for id; do :; done
echo "JobId=$id JobState=$(cat "$NODES/$id/end" 2>/dev/null || echo RUNNING) x"
"""


@pytest.mark.deep
def test_a_storage_carries_everything_where_no_file_system_is_shared(site, tmp_path):
    pytest.importorskip("snakemake_storage_plugin_fs", reason="the fs storage plugin is not installed")
    if not shutil.which("rsync"):
        pytest.skip("rsync is not installed")
    programs = {"sbatch": SBATCH, "scontrol": SCONTROL, "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n'}
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    nodes, store = tmp_path / "nodes", tmp_path / "store"
    nodes.mkdir()
    text = (REPOSITORY / "docs/cluster.md").read_text().split("\n## No shared file system\n")[1]
    command = re.search(r"^```\n(.*?)\n```", text, re.MULTILINE)[1].replace("/somewhere", str(store))
    fast = "--seconds-between-status-checks 1 --configfile config/quick.yaml"
    # Of one's own, and no file that git knows: Snakemake does not deploy it.
    ours = {"columns": {"model": "mine.py:network"}}
    (site.hub / "config/quick.yaml").write_text(json.dumps(TINY | ours))
    (site.hub / "mine.py").write_text((REPOSITORY / "config/networks/example.py").read_text())
    assert f"Page: {store / PAGE}" in site.type(f"{command} {fast}", site.hub, NODES=str(nodes))
    assert "cpu-reference" in (store / PAGE).read_text()
    assert (store / "results/report/gates.txt").read_text() == "No hard gate failed.\n"
    recorded = json.loads((store / "results/train/cpu/cpu-reference/run-1.json").read_text())
    assert recorded["network"]["source"].startswith("mine.py: SHA-256 ")
    # Sharding, the calibration and the run, each in a folder that had nothing before.
    assert [(node / "end").read_text() for node in nodes.iterdir()] == ["COMPLETED\n"] * 3
    assert not (site.hub / "results/train").exists()


def test_a_module_without_a_config_says_whose_it_reads(site):
    (site.folder / "config").mkdir()
    (site.folder / "config/config.yaml").write_text("samples: samples.tsv\n")
    text = f'module it:\n    snakefile:\n        "{site.hub}/workflow/Snakefile"\n'
    (site.folder / "Snakefile").write_text(text + "\nuse rule * from it\n")
    said = site.type("snakemake -n || true")
    assert "'samples': unknown key" in said
    assert "\nThe module statement has no `config:`, so that config/config.yaml was read; give the module" in said
    # A config of its own is the module's alone, right or wrong.
    own = '    config:\n        {"colour": "red"}\n'
    (site.folder / "Snakefile").write_text(text + own + "\nuse rule * from it\n")
    said = site.type("snakemake -n || true")
    assert "'colour': unknown key" in said
    assert "config/config.yaml" not in said


def test_the_sources_that_cannot_work_are_refused_in_one_line(site):
    """A prefix would part the records from where they are looked for."""
    text = 'module it:\n    snakefile:\n        "{}"\n    prefix:\n        "there"\n\nuse rule * from it\n'
    (site.folder / "Snakefile").write_text(text.format(f"{site.hub}/workflow/Snakefile"))
    said = site.type("snakemake -n || true")
    assert "leave prefix and replace_prefix out of the module statement" in said


BLOCK = """
import pkgutil
import sys

every = pkgutil.iter_modules
pkgutil.iter_modules = lambda *where: (found for found in every(*where) if not is_plugin(found.name))


def is_plugin(name):
    return name.startswith(("snakemake_executor_plugin_", "snakemake_storage_plugin_"))


class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)


sys.meta_path.insert(0, Without())
"""


def brought_by(package, found=None):
    """Return the names of all packages that are installed with one."""
    found = set() if found is None else found
    found.add(package)
    for line in metadata.requires(package) or []:
        name = re.split(r"[^A-Za-z0-9._-]", line)[0].replace("_", "-").lower()
        if "extra ==" not in line and name not in found:
            try:
                brought_by(name, found)
            except metadata.PackageNotFoundError:  # for another system
                continue
    return found


CARDS = "#!/bin/sh\necho GPU-aa, 81559, 580.1, NVIDIA H100 80GB HBM3\n"
FAILS = "#!/bin/sh\necho Failed to initialize NVML: Driver/library version mismatch\nexit 18\n"


@pytest.mark.parametrize(
    ("smi", "driver", "said"),
    [
        (CARDS, True, "Timing 2 cells, 1 runs each: cpu-reference, gpu-reference."),
        (FAILS, True, "Nobody could look for a GPU on this machine (Failed to initialize NVML: Driver/library"),
        (FAILS, False, "No GPU was found on this machine, so no GPU was timed."),
    ],
    ids=["a card", "a driver that fails", "no driver"],
)
def test_snakemake_alone_plans_and_answers_whether_there_is_a_gpu(site, tmp_path, smi, driver, said):
    """As with conda, where Snakemake's own environment has nothing but Snakemake."""
    lines = (REPOSITORY / "requirements.in").read_text().splitlines()
    names = {re.split("[ ;]", line)[0] for line in lines if line[0] != "#"} - brought_by("snakemake")
    assert {"torch", "pandas", "nvidia-ml-py", "matplotlib"} <= names
    modules = {MODULES.get(name, name.replace("-", "_")) for name in names}
    (tmp_path / "sitecustomize.py").write_text(BLOCK.format(names=modules | {"numpy"}))
    (tmp_path / "bin/nvidia-smi").write_text(smi)
    (tmp_path / "bin/nvidia-smi").chmod(0o755)
    module = site.hub / "workflow/scripts/epochbench/timing/devices/drivers/nvidia_smi.py"
    there = tmp_path / "bin" if driver else tmp_path / "nowhere"
    module.write_text(module.read_text().replace('Path("/dev/nvidiactl"), Path("/dev/dxg")', f'Path("{there}"),'))
    config = TINY | {"devices": {"gpu": "auto"}, "cells": "sheet.tsv"}
    (site.folder / "mine.yaml").write_text(json.dumps(config))
    (site.folder / "sheet.tsv").write_text(ONE_CELL + "gpu-reference\tgpu\t100\n")
    command = f"unset CUDA_VISIBLE_DEVICES; snakemake -n -s {site.hub}/workflow/Snakefile --configfile mine.yaml"
    assert said in site.type(command, PYTHONPATH=str(tmp_path))


@pytest.mark.deep
def test_wheels_are_carried_to_a_machine_without_internet(site, tmp_path):
    """The commands as they are, on a package made here instead of gigabytes of the real ones."""
    _, (download, install) = blocks("Without internet")
    wheel = tmp_path / "index" / "carried-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("carried.py", "")
        archive.writestr("carried-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carried\nVersion: 1.0\n")
        archive.writestr(
            "carried-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("carried-1.0.dist-info/RECORD", "")
    digest = sha256(wheel.read_bytes()).hexdigest()
    (site.hub / "requirements.txt").write_text(f"carried==1.0 --hash=sha256:{digest}\n")
    index = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheel.parent), "PIP_CONFIG_FILE": os.devnull}
    site.type(f"{sys.executable} -m {download}", site.hub, **index)
    # The set-up of that command alone, since nothing but the package made here is installed.
    command = install.replace("make dry-run", f"make .venv/.ready PYTHON={sys.executable}")
    assert command != install
    site.type(f"{command} && .venv/bin/python -c 'import carried'", site.hub, PIP_CONFIG_FILE=os.devnull)
