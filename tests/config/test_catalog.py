"""What the Snakemake workflow catalog's generator reads and runs; CI's linters are the rest of it."""

import re
import subprocess

import yaml
from support import REPOSITORY, SNAKEMAKE

HTML = {"&#45;": "-", "&quot;": '"'}


def rulegraph(*arguments):
    """Return the names of the rules in the graph of all rules that a run needs."""
    command = [*SNAKEMAKE, "--forceall", "--rulegraph", *arguments]
    said = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert said.startswith("digraph")
    return set(re.findall(r'label = "([^"]+)"', said))


def test_the_catalog_finds_what_standardised_usage_asks_for():
    readme = (REPOSITORY / "README.md").read_text().lower()
    assert "snakemake" in readme
    assert "workflow" in readme
    assert (REPOSITORY / "workflow/Snakefile").is_file()
    assert {path.suffix for path in (REPOSITORY / "workflow/rules").iterdir()} == {".smk"}
    assert (REPOSITORY / "config/README.md").read_text().strip()
    usage = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    deployment = usage["software-stack-deployment"]
    assert all(isinstance(value, bool) for value in deployment.values())
    assert deployment["conda"] == any((REPOSITORY / "workflow/envs").glob("*.yaml"))


def test_the_smallest_run_is_in_the_folder_where_the_catalog_looks():
    assert {"acquire_archive", "train_cpu", "judge_gates"} <= rulegraph("--directory", ".test")


def test_the_picture_shows_the_rules_as_they_are():
    drawn = (REPOSITORY / "images/rulegraph.svg").read_text()
    for code, character in HTML.items():
        drawn = drawn.replace(code, character)
    shown = set(re.findall(r"<text [^>]*>([^<]+)</text>", drawn))
    assert shown == rulegraph("--config", "devices={gpu: require}"), "run make rulegraph"
