"""What a forge reads follows the public schemas, and a release is refused where something disagrees."""

import re
import shutil
import subprocess
import sys

import pytest
import yaml
from support import REPOSITORY

WORKFLOW = ".github/workflows/ci.yml"


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", [WORKFLOW]),
        ("custom.github-workflows-require-timeout", [WORKFLOW]),
        ("vendor.dependabot", [".github/dependabot.yml"]),
        ("vendor.github-issue-forms", [".github/ISSUE_TEMPLATE/bug.yml", ".github/ISSUE_TEMPLATE/result.yml"]),
        ("vendor.github-issue-config", [".github/ISSUE_TEMPLATE/config.yml"]),
        ("vendor.citation-file-format", ["CITATION.cff"]),
    ],
)
def test_what_the_forge_reads_follows_its_schema(schema, files):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *files]
    outcome = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout


def test_the_checks_of_a_fork_are_ours_with_the_least_rights_and_pinned_actions():
    workflow = yaml.safe_load((REPOSITORY / WORKFLOW).read_text())
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"]
    (job,) = workflow["jobs"].values()
    assert ".ci/run" in [step.get("run") for step in job["steps"]]
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert actions
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action) for action in actions)


def test_a_form_asks_for_what_the_reader_needs():
    asked = {}
    for name in ("bug", "result"):
        form = yaml.safe_load((REPOSITORY / f".github/ISSUE_TEMPLATE/{name}.yml").read_text())
        asked[name] = {field.get("id") for field in form["body"]}
    assert asked["bug"] >= {"command", "summary", "log", "commit"}
    assert asked["result"] >= {"export", "hardware", "machine", "summary"}


FILES = {
    "CITATION.cff": "cff-version: 1.2.0\nversion: 1.2.3\ndate-released: 2026-01-31\n",
    "CHANGELOG.md": "# Changelog\n\n## 1.2.3 (2026-01-31)\n\n* New.\n\n## 1.2.2 (2026-01-01)\n",
}


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def release_check(folder):
    return subprocess.run(
        ["sh", str(REPOSITORY / "workflow/release_check.sh")], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.fixture
def released(tmp_path):
    """A repository whose last commit may be released."""
    git(tmp_path, "init", "--quiet")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "Prepare 1.2.3")
    return tmp_path


def test_a_commit_in_order_may_be_released_once(released):
    outcome = release_check(released)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "1.2.3 is ready; publish it with: git tag -a v1.2.3" in outcome.stdout
    git(released, "tag", "v1.2.3")
    outcome = release_check(released)
    assert outcome.returncode == 1
    assert "the tag v1.2.3 exists" in outcome.stderr
    shutil.rmtree(released / ".git")
    outcome = release_check(released)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert "there is no commit here to release" in outcome.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("CITATION.cff", "version: 1.2.3", "version: 1.2.4", "CHANGELOG.md has no entry '## 1.2.4 (2026-01-31)'"),
        ("CITATION.cff", "1.2.3", "v2", "version 'v2' is not three numbers"),
        ("CITATION.cff", "1.2.3", "1.02.3", "version '1.02.3' is not three numbers"),
        ("CITATION.cff", "date-released: 2026-01-31\n", "", "date-released '' is not a date"),
        ("CITATION.cff", "2026-01-31", "2026-31-01", "date-released '2026-31-01' is not a date"),
        ("CITATION.cff", "2026-01-31", "2026-02-01", "has '1.2.3 (2026-01-31)' as its newest entry"),
        ("CHANGELOG.md", "## 1.2.3", "## Unreleased\n\n## 1.2.3", "has 'Unreleased' as its newest entry"),
    ],
)
def test_a_release_is_refused_with_the_thing_named(released, file, old, new, said):
    (released / file).write_text(FILES[file].replace(old, new))
    outcome = release_check(released)
    assert outcome.returncode == 1
    assert said in outcome.stderr
    assert f"not committed: {file}" in outcome.stderr
    git(released, "commit", "--quiet", "--all", "--message", "Break it")
    outcome = release_check(released)
    assert outcome.returncode == 1
    assert said in outcome.stderr
    assert "not committed" not in outcome.stderr
