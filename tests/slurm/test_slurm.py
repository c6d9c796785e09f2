"""The workflow through a real Slurm of one node."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest
from slurm.cluster import cluster, missing_commands
from support import REPOSITORY, SNAKEMAKE, needs_glibc, with_small_calibrations

from epochbench.timing.machine.host import usable_cores

QUICK = ("--configfile", "config/quick.yaml")


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    if missing_commands():
        pytest.skip(f"Slurm is not installed ({', '.join(missing_commands())}): apt-get install slurm-wlm")
    with cluster(tmp_path_factory.mktemp("slurm") / "cluster", min(2, usable_cores())) as running:
        yield running
    assert running.left_over() == []


@pytest.fixture(scope="session")
def sharded(tmp_path_factory, repository_copy):
    """A copy of the repository with the small stand-in's shards, made once without the cluster."""
    folder = with_small_calibrations(repository_copy(tmp_path_factory.mktemp("sharded") / "clone"))
    command = [*SNAKEMAKE, "results/shard/manifest.json", "--cores", "2", *QUICK]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def site(sharded, tmp_path):
    """A copy of that for one test."""
    return shutil.copytree(sharded, tmp_path / "site", symlinks=True)


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("slurm")]

# As short as a run can be; what is timed is not what is tested.
SHORT = "min_epochs: 2, max_epochs: 2, min_seconds: 0"
ONE_CELL = "cell\tdevice\ncpu-reference\tcpu\n"
CORES = min(2, usable_cores())


def settings(**changes):
    values = {"memory_mb": 4000, "runtime_minutes": 10} | changes
    return "cluster={" + ", ".join(f"{key}: {value}" for key, value in values.items()) + "}"


def command(*more, profile="slurm", gpu="skip", retries=0, cluster=None, timing=f"runs: 1, {SHORT}"):
    config = [
        f"devices={{gpu: {gpu}}}",
        cluster or settings(),
        f"timing={{{timing}, tries: 1, quiet_seconds: 0}}",
        *more,
    ]
    base = [*SNAKEMAKE, "--workflow-profile", f"profiles/{profile}", *QUICK, "--retries", str(retries)]
    # Ask about jobs sooner than is polite to a cluster of many.
    soon = ["--slurm-init-seconds-before-status-checks", "2"] if profile == "slurm" else []
    return [*base, *soon, "--seconds-between-status-checks", "2", "--config", *config]


def run(slurm, site, *words):
    done = subprocess.run(
        words, cwd=site, env=slurm.environment, capture_output=True, text=True, timeout=900, check=False
    )
    return done.returncode, done.stdout + done.stderr


def one_cell(site, text=ONE_CELL):
    (site / "config" / "one.tsv").write_text(text)
    return "cells=config/one.tsv"


def records(site):
    return [json.loads(path.read_text()) for path in sorted(site.glob("results/train/*/*/run-*.json"))]


def timing_jobs(slurm, site):
    """Return what Slurm remembers of this copy's timing jobs."""
    return [
        job
        for job in slurm.jobs()
        if job.get("WorkDir") == str(site) and "train" in job.get("Comment", "") + job.get("Command", "")
    ]


@needs_glibc  # the quick sheet's second cell is at its best with mallopt
def test_a_whole_run_through_slurm(slurm, site):
    status, output = run(slurm, site, *command(timing=f"runs: 2, {SHORT}"))
    assert status == 0, output
    found = records(site)
    assert len(found) == 4
    assert {record["machine"]["node"].split(".")[0] for record in found} == {slurm.host}
    assert len({record["machine"]["slurm_job"] for record in found}) == 4
    assert {record["conditions"]["threads"] for record in found} == {CORES}
    # CPU cells hide whatever GPU there is.
    assert {record["conditions"]["environment"]["CUDA_VISIBLE_DEVICES"] for record in found} == {""}
    assert (site / "results/report/index.html").exists()
    jobs = timing_jobs(slurm, site)
    assert len(jobs) == 4
    spans = sorted((datetime.fromisoformat(job["StartTime"]), datetime.fromisoformat(job["EndTime"])) for job in jobs)
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
    assert all(job["OverSubscribe"] == "NO" for job in jobs)
    # Downloading and drawing stay on the submitting host.
    assert not [job for job in slurm.jobs() if "acquire" in job.get("Comment", "")]


def test_what_the_job_got_is_what_is_used(slurm, site):
    status, output = run(slurm, site, *command(one_cell(site), cluster=settings(cpu_cores=1)))
    assert status == 0, output
    (found,) = records(site)
    assert (found["conditions"]["threads"], found["machine"]["cores_usable"]) == (1, 1)
    assert {gate["gate"]: gate["passed"] for gate in found["gates"]}["fair CPU"] is True


@pytest.mark.parametrize(
    ("impossible", "told"),
    [
        ({"cpu_cores": 16}, "can never start: Slurm says PartitionConfig; change cluster.cpu_cores"),
        (
            {"memory_mb": 9_000_000},
            "was refused: Slurm says Memory specification can not be satisfied; change cluster.memory_mb",
        ),
    ],
    ids=["in the queue", "by sbatch"],
)
def test_a_job_that_can_never_start_is_told_with_slurms_reason_and_the_key_and_fails_where_asked(
    slurm, site, impossible, told
):
    asked = settings(never_starts="cancel", **impossible)
    status, output = run(slurm, site, *command(one_cell(site), cluster=asked))
    assert status != 0
    assert told in output, output[-3000:]
    assert records(site) == []
    assert not [job for job in slurm.jobs() if job.get("WorkDir") == str(site) and job["JobState"] == "PENDING"]


def test_the_cluster_says_what_it_has_and_what_it_would_accept(slurm):
    words = [sys.executable, "-m", "epochbench.cluster"]
    environment = slurm.environment | {"PYTHONPATH": str(REPOSITORY / "workflow" / "scripts")}
    said = subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout
    assert f"main: 1 x {CORES} cores" in said
    assert "1 x fake, features fast" in said
    assert "cluster='{partition: main}'" in said
    assert [line.split("sbatch")[0].strip() for line in said.splitlines() if ": accepted (" in line] == [
        "CPU cells:", "GPU cells:",
    ]  # fmt: skip
    longer = subprocess.run([*words, "--minutes", "999"], env=environment, capture_output=True, text=True, check=True)
    assert "runtime_minutes: 60}" in longer.stdout
    assert "--time=60: accepted (" in longer.stdout
    refused = [sys.executable, "-c", "from epochbench.cluster import verdict; print(verdict(['--partition=no']))"]
    said = subprocess.run(refused, env=environment, capture_output=True, text=True, check=True).stdout
    assert said.startswith("refused (")
    assert "invalid partition" in said
    missing = subprocess.run(
        [*words, "--partition", "no"], env=environment, capture_output=True, text=True, check=False
    )
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "'no'" in missing.stderr


@pytest.mark.deep
@pytest.mark.parametrize(("maker", "asked"), [("nvidia", "TresPerJob"), ("amd", "TresPerNode")])
def test_a_gpu_job_gets_a_gpu_and_says_when_torch_cannot_see_it(slurm, site, maker, asked):
    sheet = one_cell(site, "cell\tdevice\tgpu_model\tconstraint\ncpu-reference\tcpu\t\tfast\ngpu-a\tgpu\tfake\tfast\n")
    status, output = run(slurm, site, *command(sheet, cluster=settings(gpu_manufacturer=maker), gpu="require"))
    assert status != 0
    assert "cell 'gpu-a': torch sees 0 GPUs" in output
    assert "CUDA_VISIBLE_DEVICES is 0" in output
    assert [record["cell"]["cell"] for record in records(site)] == ["cpu-reference"]
    gpu_job = next(job for job in timing_jobs(slurm, site) if job.get(asked))
    assert "gpu:fake:1" in gpu_job[asked]
    assert gpu_job["Features"] == "fast"


def wait_for(condition, seconds=600):  # for hangs: beside other suites, a first record has taken over two minutes
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.5)
    return found


def running_job(slurm, site):
    return next((job for job in timing_jobs(slurm, site) if job["JobState"] == "RUNNING"), None)


LONG = "runs: 1, min_epochs: 1000, min_seconds: 600, max_seconds: 600, max_epochs: 100000"


@pytest.fixture
def started(slurm, site):
    """A function that starts Snakemake on the cluster; what is left of it is ended after the test."""
    processes = []

    def start(*words):
        process = subprocess.Popen(
            words, cwd=site, env=slurm.environment, start_new_session=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    for job in timing_jobs(slurm, site):
        slurm.command("scancel", job["JobId"], check=False)


@pytest.mark.deep
@pytest.mark.parametrize(
    ("more", "cause"),
    [
        pytest.param((), "CANCELLED", id="cancelled"),
        pytest.param(("--set-resources", "train_cpu:mem_mb=150"), "", id="too little memory"),
        pytest.param(("--set-resources", "train_cpu:runtime=1"), "TIMEOUT", id="over its time"),
    ],
)
def test_a_job_that_slurm_ends_is_told_with_its_cause_and_the_next_run_resumes(slurm, site, started, more, cause):
    sheet = one_cell(site)
    process = started(*command(sheet, timing=LONG), *more)
    job = wait_for(lambda: running_job(slurm, site))
    if cause == "CANCELLED":
        slurm.command("scancel", job["JobId"])
    output, _ = process.communicate(timeout=600)
    assert process.returncode != 0
    assert f"SLURM status is: '{cause}" in output, output[-3000:]
    assert records(site) == []
    assert not list(site.glob("results/train/**/*.tmp"))
    if cause == "CANCELLED":  # what follows does not depend on the cause, and takes most of a minute
        status, output = run(slurm, site, *command(sheet))
        assert status == 0, output
        assert len(records(site)) == 1


@pytest.mark.deep
def test_a_killed_submitting_host_resumes_and_keeps_what_was_measured(slurm, site, started):
    words = command(one_cell(site), timing=f"runs: 2, {SHORT}")
    process = started(*words)
    wait_for(lambda: records(site))
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_for(lambda: not [job for job in timing_jobs(slurm, site) if job["JobState"] in ("RUNNING", "PENDING")])
    first = {path: path.stat().st_mtime_ns for path in site.glob("results/train/*/*/run-*.json")}
    status, output = run(slurm, site, *words)
    assert status != 0
    assert "--unlock" in output
    run(slurm, site, *words, "--unlock")
    status, output = run(slurm, site, *words)
    assert status == 0, output
    assert len(records(site)) == 2
    kept = {path: path.stat().st_mtime_ns for path in first}
    assert sum(kept[path] == first[path] for path in first) >= 1


@pytest.mark.deep
def test_the_generic_profile_submits_through_its_own_command_lines(slurm, site):
    cores = settings(cpu_cores=CORES, gpu_cores=CORES)
    status, output = run(slurm, site, *command(one_cell(site), profile="generic", cluster=cores))
    assert status == 0, output
    (found,) = records(site)
    assert found["machine"]["slurm_job"]
    job = next(job for job in slurm.jobs() if job["JobId"] == found["machine"]["slurm_job"])
    assert (job["JobName"], job["OverSubscribe"], job["JobState"]) == ("train_cpu", "NO", "COMPLETED")


def test_a_login_node_without_internet_says_so_before_anything_is_submitted(slurm, site):
    before = len(slurm.jobs())
    for path in (site / "results").glob("*/*"):
        if path.is_file():
            path.unlink()
    dataset = (
        "dataset={source: cifar10, when_unreachable: fail, archive: 'http://127.0.0.1:9/x.tar.gz', sha256: "
        + "ab" * 32
        + "}"
    )
    status, output = run(slurm, site, *command(dataset, one_cell(site)))
    assert status != 0
    assert "127.0.0.1:9" in output
    assert len(slurm.jobs()) == before
