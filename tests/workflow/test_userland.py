"""Shell scripts and the Makefile where GNU's programs are not, as on a Mac; test_setup.py has the set-up itself."""

import os
import re
import shutil
import subprocess

import pytest
from support import REPOSITORY
from userland import small_programs

SCRIPTS = sorted(
    path.relative_to(REPOSITORY).as_posix()
    for folder in ("workflow", "benchmarks", "profiles")
    for path in (REPOSITORY / folder).rglob("*.sh")
)  # fmt: skip
TEXTS = [*SCRIPTS, ".ci/run", "Makefile"]
# What GNU's programs know and others do not, so that no test here would notice it with busybox.
GNUS_ALONE = {
    r"\b(grep|sed)\b(?! -[a-zA-Z]*E)[^|\n]*'[^'\n]*\\[|+?]": "alternation and repetition in basic expressions; use -E",
    r"\bgrep\b[^|\n]* -[a-zA-Z]*P": "grep -P",
    r"\bsed\b[^|\n]* -[a-zA-Z]*i\b": "sed -i without a suffix",
    r"\bsed\b[^|\n]*/[^/\n]*\\[tn][^/\n]*/'": "\\t and \\n in what sed writes",
    r"\breadlink\b[^|\n]* -f": "readlink -f",
    r"\bdate\b[^|\n]* (-d|--date)": "date -d",
    r"\bsort\b[^|\n]* -[a-zA-Z]*V": "sort -V",
    r"\bstat\b[^|\n]* -c": "stat -c",
    r"(?<!os\.)\b(nproc|sha256sum|md5sum|tac|timeout|setsid|flock)\b": "programs of GNU and Linux",
    r"\bfind\b[^|\n]* -(delete|printf|quit)\b": "actions of find",
    r"\b(cp|ls|rm|mkdir|head|tail|tr|cut|wc) --[a-z]": "long options",
}


def code_of(name):
    """Return a script without its comments; Linux alone installs packages with apt-get, or has NVIDIA's nodes."""
    lines = (REPOSITORY / name).read_text().splitlines()
    return "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in lines)


@pytest.fixture
def programs(tmp_path):
    return small_programs(tmp_path / "small")


@pytest.fixture
def typed(clone, programs):
    """A function that runs a command in a clone with the small programs alone; return its status and its words."""

    def type_(*words, **environment):
        kept = {name: os.environ[name] for name in ("HOME", "TMPDIR") if name in os.environ}
        done = subprocess.run(
            words, cwd=clone, env=kept | {"PATH": programs} | environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return type_


def make(programs, *words):
    return ["make", f"SHELL={programs}/sh", "VENV=", *words]


@pytest.mark.parametrize("name", [*SCRIPTS, ".ci/run"])
def test_a_script_passes_shellcheck(name):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    found = subprocess.run(["shellcheck", name], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def targets():
    return re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)


def test_what_make_would_run_passes_shellcheck(clone):
    if not shutil.which("shellcheck"):
        pytest.skip("shellcheck is not installed: apt-get install shellcheck")
    assert len(targets()) > 20
    words = ["MODEL=mine.py:network", "BASE=export.zip", "EXPORTS=a.zip b.zip"]
    printed = subprocess.run(
        ["make", "--dry-run", "--always-make", *words, *targets()],
        cwd=clone, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert "setup.sh" in printed
    # Where make has put a word into a test, its answer is known.
    found = subprocess.run(
        ["shellcheck", "--shell=sh", "--exclude=SC2157", "-"],
        input=printed,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout


@pytest.mark.parametrize("name", TEXTS)
def test_a_script_uses_nothing_that_gnu_alone_has(name):
    found = {reason: re.search(pattern, code_of(name)) for pattern, reason in GNUS_ALONE.items()}
    assert {reason: match[0] for reason, match in found.items() if match} == {}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r"grep -q 'a\|b' log", "alternation"),
        (r"sed -E 's/:[^#]*## /\t/' Makefile", "in what sed writes"),
        ("sed -i 's/a/b/' file", "sed -i"),
        ("cp --parents a b", "long options"),
        ("x=$(nproc)", "programs of GNU"),
    ],
)
def test_the_list_of_what_gnu_alone_has_notices_it(line, reason):
    assert [told for pattern, told in GNUS_ALONE.items() if re.search(pattern, line) and reason in told]


def test_make_lists_cleans_and_refuses(clone, programs, typed):
    status, said = typed(*make(programs, "help"))
    assert status == 0, said
    assert dict(line.split(maxsplit=1) for line in said.splitlines()).keys() == set(targets())
    assert "\nquick           The same in about a minute" in said
    (clone / "results/train/cpu").mkdir(parents=True)
    (clone / "results/train/cpu/run-1.json").touch()
    (clone / ".snakemake").mkdir()
    assert typed(*make(programs, "clean"))[0] == 0
    assert [path.name for path in (clone / "results").rglob("*")] == ["README.md"]
    assert not (clone / ".snakemake").exists()
    assert "name the network: make try MODEL=" in typed(*make(programs, "try"))[1]
    assert "there is no page yet" in typed(*make(programs, "open"))[1]


def test_another_torch_is_not_taken_for_the_one_that_is_set_up(clone, programs, typed):
    ready = clone / "mine/.ready"
    ready.parent.mkdir()
    ready.write_text("https://index/rocm\n")
    command = make(programs, "--dry-run", "VENV=mine", "dry-run")
    for index, status in ((None, 0), ("https://index/rocm", 0), ("https://index/xpu", 2)):
        found, said = typed(*command, *([f"TORCH_INDEX={index}"] if index else []))
        assert found == status, said
    assert "mine has torch from elsewhere than TORCH_INDEX=https://index/xpu; remove it, or name another place" in said
    os.utime(ready, (0, 0))  # the pins are newer
    for left in (ready, clone / "mine/.unfinished"):
        assert 'TORCH_INDEX="https://index/rocm" sh workflow/setup.sh' in typed(*command)[1]
        assert 'TORCH_INDEX="" sh workflow/setup.sh' in typed(*command, "TORCH_INDEX=")[1]
        left.rename(clone / "mine/.unfinished")  # as a set-up that is broken off leaves it
    (clone / "mine/.unfinished").unlink()
    ready.write_text("\n")  # as `make run` leaves it
    assert typed(*command, "TORCH_INDEX=https://index/rocm")[0] == 2


def program(folder, name, text):
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.mark.parametrize(("outcome", "status"), [('{"status": 3}', 3), ('{"status": 0}', 0), (None, 1)])
def test_a_comparison_ends_with_its_status(clone, programs, typed, outcome, status):
    bin_ = clone / "bin"
    bin_.mkdir()
    (bin_ / "python").symlink_to(f"{programs}/python")
    (clone / "results/report").mkdir()
    (clone / "results/report/comparison.json").write_text('{"status": 4}')  # an earlier one's
    program(bin_, "snakemake", f"echo '{outcome}' > results/report/comparison.json" if outcome else "exit 1")
    assert typed("sh", "workflow/compare.sh", str(bin_), "base.zip")[0] == status


def test_an_audit_and_a_release_are_checked(clone, programs, typed):
    bin_ = clone / "bin"
    bin_.mkdir()
    (bin_ / "python").symlink_to(f"{programs}/python")
    program(bin_, "pip-audit", "echo no such host >&2; exit 1")
    status, said = typed("sh", "workflow/audit.sh", str(bin_))
    assert status == 75
    assert "no such host\n" in said
    assert "audit: the vulnerabilities of requirements.txt could not be looked up, so nothing is known of them" in said
    found = '{"dependencies": [{"name": "thing", "version": "1", "vulns": %s}]}'
    flaw = '[{"id": "CVE-1", "fix_versions": ["2"]}]'
    for vulnerabilities, status in (("[]", 0), (flaw, 1)):
        seen = f"echo '{found % '[]'}'; case $* in *jax.txt) echo '{found % vulnerabilities}' ;; esac"
        out = 'for word; do [ "$before" != --output ] || out=$word; before=$word; done'
        program(bin_, "pip-audit", f'{out}; ({seen}) | tail -n 1 > "$out"')
        ended, said = typed("sh", "workflow/audit.sh", str(bin_))
        assert (ended, "1 of 1 packages looked up" in said) == (status, True), said
        assert ("thing 1: CVE-1, mended in 2" in said) == (status == 1)
    (clone / "CITATION.cff").write_text("version: 1.2.3\ndate-released: '2026-01-31'\n")
    (clone / "CHANGELOG.md").write_text("# Changelog\n\n## 1.2.3 (2026-01-31)\n")
    status, said = typed("sh", "workflow/release_check.sh")
    assert status == 1
    assert [line for line in said.splitlines() if line.startswith("release: ")] == [
        "release: there is no commit here to release; type it in a clone",
    ]  # fmt: skip


SCHEDULERS = {
    "slurm": ("sbatch", "echo '7;cluster'", "scontrol", "echo 'JobId=7 JobState=COMPLETED Reason=None'", "success"),
    "lsf": ("bsub", "echo 'Job <7> is submitted to queue <normal>.'", "bjobs", "echo EXIT", "failed"),
    "sge": ("qsub", "echo 7", "qacct", "echo 'exit_status  0'", "success"),
    "pbs": ("qsub", "echo 7", "qstat", "printf '    job_state = F\\n    Exit_status = 1\\n'", "failed"),
}


@pytest.fixture
def there(tmp_path):
    """The folder of a scheduler's programs."""
    folder = tmp_path / "scheduler"
    folder.mkdir()
    return folder


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    return request.param


@pytest.fixture
def ask(clone, typed, programs, there, scheduler):
    """Type the generic profile's command where a scheduler has these programs."""
    found = {"EPOCHBENCH_SCHEDULER": scheduler, "PATH": f"{there}:{programs}"}
    return lambda *words: typed("sh", "profiles/generic/scheduler.sh", *words, **found)


def test_a_job_that_a_scheduler_does_not_take_names_what_was_asked_and_the_keys(there, scheduler, ask):
    program(there, SCHEDULERS[scheduler][0], "echo its own words >&2; exit 1")
    status, said = ask("submit", "train_cpu", "2", "4000", "10", "0", "job.sh")
    assert status == 2
    own, line = said.splitlines()
    assert own == "its own words"
    assert line.startswith(f"scheduler.sh: {scheduler} did not take train_cpu with 2 cores (cluster.cpu_cores,")
    assert "4000 MB (cluster.memory_mb), 10 minutes (cluster.runtime_minutes)" in line


ALONE = {"slurm": "--exclusive", "lsf": "-x", "sge": "exclusive=true", "pbs": "place=excl"}


def test_a_scheduler_is_asked_and_understood(there, scheduler, ask):
    submits, number, tells, state, outcome = SCHEDULERS[scheduler]
    program(there, submits, f'echo "$@" > {there}/asked\n{number}')
    program(there, tells, state)
    assert ask("submit", "train_cpu", "2", "4000", "10", "1", "job.sh") == (0, "7\n")
    assert (there / "asked").read_text().split()[-1] == "job.sh"
    assert ask("status", "7") == (0, f"{outcome}\n")


def test_timing_jobs_alone_ask_for_a_node_of_their_own_under_a_modules_prefix_too(there, scheduler, ask):
    program(there, SCHEDULERS[scheduler][0], f'printf "%s\\n" "$*" >> {there}/asked')
    rules = (
        "train_cpu",
        "epochbench_train_cpu",
        "epochbench_calibrate_gpu",
        "shard_archive",
        "epochbench_shard_archive",
    )
    for rule in rules:
        ask("submit", rule, "2", "4000", "10", "0", "job.sh")
    asked = (there / "asked").read_text().splitlines()
    assert [ALONE[scheduler] in line.split() for line in asked] == [True, True, True, False, False]
