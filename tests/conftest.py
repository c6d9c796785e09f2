"""What tests share: a small synthetic archive, its shards, and a copy of the repository to run Snakemake in."""

import itertools
import os
import runpy
import shutil
import subprocess
import sys

import pytest
from support import REPOSITORY

from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.shard.write import shard_archive

# What `make test-all ARGS=...` was told is no word for the makes that tests start.
for told in ("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "ARGS", "VENV"):
    os.environ.pop(told, None)

# Threads that wait for each other would burn the cores that other tests compute on: half of all seconds of a short run.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

HIDDEN = ("proc", "affinity", "mallopt", "nvml")
SMALL = Synthetic(images_per_batch=100, seed=7)


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """An archive of 500 training and 100 test images in the official layout."""
    path = tmp_path_factory.mktemp("archive") / "small.tar.gz"
    write_archive(path, SMALL)
    return path


@pytest.fixture(scope="session")
def manifest(archive, tmp_path_factory):
    """The manifest beside the shards of the small archive."""
    folder = tmp_path_factory.mktemp("shards")
    source = {"name": "synthetic (seed 7)", "synthetic": True, "layout": "cifar10"}
    shard_archive(archive, source, folder, shard_size=150)
    return str(folder / "manifest.json")


@pytest.fixture(scope="session")
def repository_copy():
    """A function that copies the repository's own files into a folder, without any results."""

    def copy(target):
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=REPOSITORY, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        for name in listed:
            if (REPOSITORY / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target / name)
        return target

    return copy


@pytest.fixture
def clone(tmp_path, repository_copy):
    """A copy of the repository's own files, with results of its own."""
    return repository_copy(tmp_path / "clone")


def pytest_xdist_auto_num_workers(config):
    """One worker more than cores, since tests of schedulers and servers mostly wait; at most five, for the memory."""
    return min(os.cpu_count() or 1, 4) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Have workers name the group of a test behind its address, as pytest-xdist 3.8 means to and pytest 9.2 ignores.

    Without it each worker sets up again what a group shares: https://github.com/pytest-dev/pytest-xdist/issues/1386.
    """
    if getattr(config.option, "loadgroup", False):
        for item in items:
            group = "_".join(sorted({str(mark.args[0]) for mark in item.iter_markers("xdist_group")}))
            if group and not item.nodeid.endswith(f"@{group}"):
                item._id = type(item._id).parse(f"{item.nodeid}@{group}")


def pytest_addoption(parser):
    parser.addoption("--skips-fail", action="store_true", help="CI installs every tool, so that none may be missed")
    parser.addoption(
        "--hide", action="store_true",
        help=f"run as on a system without {', '.join(HIDDEN)}; EPOCHBENCH_HIDE=NAME,NAME hides a part of them",
    )  # fmt: skip


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    """Hide what was asked for from this process, and from every one that it starts (tests/hidden)."""
    names = os.environ.get("EPOCHBENCH_HIDE", ",".join(HIDDEN) if config.getoption("--hide") else "")
    folder, paths = str(REPOSITORY / "tests/hidden"), os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if unknown := set(filter(None, names.split(","))) - set(HIDDEN):
        raise pytest.UsageError(f"EPOCHBENCH_HIDE: {', '.join(sorted(unknown))}: it may name {', '.join(HIDDEN)}")
    if names and folder not in paths:
        os.environ["EPOCHBENCH_HIDE"] = names
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *filter(None, paths)])
        sys.path.insert(0, folder)  # some tests hand their own path on
        runpy.run_path(f"{folder}/sitecustomize.py")


def pytest_report_header():
    """Say what was hidden."""
    return f"hidden: {os.environ['EPOCHBENCH_HIDE']}" if os.environ.get("EPOCHBENCH_HIDE") else None


def pytest_itemcollected(item):
    """Note what goes wrong in a test where its report finds it, in whichever process the test runs."""
    for marker in item.iter_markers("fault"):
        item.user_properties.append(("fault", marker.args))
        return


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    missing_tool = report.skipped and isinstance(report.longrepr, tuple) and "not installed" in report.longrepr[2]
    if missing_tool and item.config.getoption("--skips-fail"):
        report.outcome = "failed"
    return report


def pytest_terminal_summary(terminalreporter):
    """Print the table of faults: how many of each kind were tried, and what came of them."""
    rows = {}
    for report in itertools.chain(*(terminalreporter.stats.get(kind, []) for kind in ("passed", "failed", "error"))):
        for kind, outcome in [value for name, value in getattr(report, "user_properties", []) if name == "fault"]:
            if report.when == "call" or report.failed:
                row = rows.setdefault(kind, {"tried": 0, "survived": 0, "refused": 0, "silent": 0})
                row["tried"] += 1
                row[outcome if report.passed else "silent"] += 1
    if rows:
        total = {column: sum(row[column] for row in rows.values()) for column in next(iter(rows.values()))}
        terminalreporter.section("faults")
        terminalreporter.write_line(f"{'':<24}" + "".join(f"{column:>10}" for column in total))
        for kind, row in [*sorted(rows.items()), ("all", total)]:
            terminalreporter.write_line(f"{kind:<24}" + "".join(f"{count:>10}" for count in row.values()))
