"""The real Snakemake on small data, through every stage."""

import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from PIL import Image
from support import with_small_calibrations
from unit.server import serving

# Most tests change a copy of one finished run, which is made once where they stay together.
pytestmark = pytest.mark.xdist_group("workflow")
# Long enough to measure something, short enough for a test.
TIMING = {
    "runs": 1, "warmup_steps": 1, "min_epochs": 2, "max_epochs": 2, "min_steps": 0, "min_seconds": 0, "max_seconds": 5,
    "tries": 1, "quiet_seconds": 0, "more_runs_seconds": 0,
}  # fmt: skip
SHEET = "cell\tdevice\tbatch_size\tmemory_format\ncpu-reference\tcpu\t100\t\n"
SHEET_OF_MODELS = "cell\tdevice\tbatch_size\tmodel\ncpu-reference\tcpu\t100\tlenet\ncpu-second\tcpu\t100\tsecond\n"
AFTER_TRAINING = ("plan_more_runs", "aggregate_records", "draw_page", "judge_gates")
# What takes a second or more to import, or must not be imported before a job has set its threads.
HEAVY = {"torch", "numpy", "pandas", "scipy", "matplotlib"}


class Clone:
    """A copy of the repository with a config of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.config = {"timing": TIMING, "devices": {"gpu": "skip"}, "dataset": {"source": "synthetic"}}
        self.write_sheet(SHEET)

    def write_sheet(self, text):
        (self.folder / "sheet.tsv").write_text(text)
        self.config["cells"] = "sheet.tsv"

    def write_config(self):
        """Write the config; JSON is YAML."""
        (self.folder / "mine.yaml").write_text(json.dumps(self.config))

    def snakemake(self, *arguments, status=0, **environment):
        """Run Snakemake with the config as it is now, and return all that it printed."""
        self.write_config()
        command = [sys.executable, "-m", "snakemake", "--configfile", "mine.yaml", *arguments]
        outcome = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False,
            env=os.environ | environment, timeout=600,
        )  # fmt: skip
        said = outcome.stdout + outcome.stderr
        assert outcome.returncode == status, said
        assert "Traceback" not in said
        return said

    def jobs(self, *arguments):
        """Return how many jobs of each rule a dry run plans."""
        said = self.snakemake("-n", "--cores", "1", *arguments)
        if "Nothing to be done" in said:
            return {}
        table = said.rpartition("Job stats:")[2].splitlines()[3:]
        counts = {}
        for line in table:
            if not line.strip():
                break
            rule, count = line.split()
            counts[rule] = int(count)
        return {rule: count for rule, count in counts.items() if rule not in ("total", "all", "default")}

    def stale_records(self):
        """Return the records on the disk that Snakemake would make anew."""
        said = self.snakemake("--summary")
        return sorted(re.findall(r"^(results/train/\S+)\t.*\tupdate pending$", said, re.MULTILINE))

    def change(self, module):
        """Add a comment to a module of the package."""
        with (self.folder / "workflow/scripts/epochbench" / module).open("a") as file:
            file.write("# changed\n")

    def result(self, name):
        return self.folder / "results" / name

    def record(self):
        """Return the record of the reference's first run."""
        return json.loads(self.result("train/cpu/cpu-reference/run-1.json").read_text())


@pytest.fixture
def fresh(clone):
    made = Clone(with_small_calibrations(clone))
    made.config["dataset"]["synthetic"] = {"images_per_batch": 100}
    return made


@pytest.fixture(scope="module")
def finished(tmp_path_factory, archive):
    """A clone that has run once, from an archive served over HTTP."""
    from support import REPOSITORY

    folder = tmp_path_factory.mktemp("finished") / "a clone"
    shutil.copytree(REPOSITORY, folder, ignore=shutil.ignore_patterns(".git", ".venv*", ".snakemake", "results", ".*"))
    shutil.copytree(REPOSITORY / "profiles", folder / "profiles", dirs_exist_ok=True)
    made = Clone(with_small_calibrations(folder))
    with serving(archive.read_bytes()) as site:
        site.behaviour = "truncates once"
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        made.config["dataset"] = {"archive": site.url(), "sha256": digest, "when_unreachable": "fail"}
        made.said = made.snakemake("--cores", "all")
    return made


@pytest.fixture
def again(finished, tmp_path):
    """A copy of the finished clone, times kept, for a test to change."""
    shutil.copytree(finished.folder, tmp_path / "again")
    made = Clone(tmp_path / "again")
    made.config["dataset"] = dict(finished.config["dataset"])
    return made


def test_runs_from_a_served_archive_to_the_page(finished):
    record = json.loads(finished.result("train/cpu/cpu-reference/run-1.json").read_text())
    assert record["dataset"]["name"] == "archive.tar.gz"
    assert record["dataset"]["synthetic"] is False
    assert len(record["timing"]["epoch_seconds"]) == 2
    assert {finding["gate"] for finding in record["gates"] if finding["passed"] is False} <= {"quiet"}
    assert finished.result("report/gates.txt").read_text() == "No hard gate failed.\n"
    assert record["training"]["steps_per_epoch"] == 5
    for name in ("aggregate/epochs.csv", "aggregate/summary.csv", "report/speedup.png", "report/speedup.pdf"):
        assert finished.result(name).stat().st_size > 0
    assert "archive.tar.gz" in finished.result("report/index.html").read_text()


def test_the_console_ends_with_the_answer_and_the_page(finished):
    said = finished.said
    end = said.index("Page: results/report/index.html")
    assert 0 < said.index("There are not two comparable cells yet") < end
    assert "(100%) done" not in said[end:]
    assert "1 of 1 runs done" in finished.said


def test_nothing_is_run_again_when_nothing_changed(again):
    assert again.jobs() == {}


def test_a_changed_cell_reruns_only_itself(again):
    again.write_sheet(SHEET + "cpu-other\tcpu\t100\t\n")
    assert again.jobs()["train_cpu"] == 1
    again.write_sheet(SHEET.replace("100", "50"))
    assert again.jobs() == dict.fromkeys(("train_cpu", *AFTER_TRAINING), 1)


def test_a_further_run_leaves_the_runs_there_are(again):
    again.config["timing"] = TIMING | {"runs": 2}
    assert again.jobs()["train_cpu"] == 1


@pytest.mark.parametrize(
    ("key", "value", "rules"),
    [
        ("statistics", {"confidence": 0.9}, {*AFTER_TRAINING}),
        ("optimizer", {"momentum": 0.5}, {"train_cpu", *AFTER_TRAINING}),
    ],
)
def test_a_changed_config_reruns_what_depends_on_it(again, key, value, rules):
    again.config[key] = value
    assert set(again.jobs()) == rules


@pytest.mark.parametrize(
    "module",
    ["timing/stopping.py", "timing/machine/host.py", "timing/step.py"],
    ids=["the stopping rule", "the core count", "the fused update"],
)
def test_whatever_decides_a_timing_makes_every_record_stale(again, module):
    again.change(module)
    assert again.jobs()["train_cpu"] == 1


def test_what_judges_tells_or_draws_makes_no_record_stale(again):
    for module in ("records/gates.py", "aggregate/headline.py", "report/page.py", "stats.py", "networks/resnet18.py"):
        again.change(module)
    assert again.jobs() == {}


def test_an_edited_reader_makes_the_shards_anew(again):
    again.change("datasets/cifar10.py")
    assert again.jobs()["shard_archive"] == 1


def test_images_of_ones_own_become_shards_and_a_changed_one_makes_them_anew(fresh):
    for number, name in enumerate(("cat/a", "cat/b", "dog/a", "dog/b")):
        path = fresh.folder / "pets" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (60 * number, 0, 0)).save(path)
    fresh.config["dataset"] = {"source": "folder", "folder": {"path": "pets", "size": "8x12"}, "residency": "host"}
    fresh.snakemake("--cores", "2", "--until", "draw_samples")
    assert json.loads(fresh.result("shard/manifest.json").read_text())["image_shape"] == [3, 8, 12]
    # An epoch's graph keeps its batches on the device.
    fresh.write_sheet("cell\tdevice\tbatch_size\texecution\ncpu-reference\tcpu\t2\t\ngpu-x\tgpu\t2\tepoch_graph\n")
    fresh.config["devices"] = {"gpu": "require"}
    planned = fresh.jobs()
    assert ("train_cpu" in planned, "train_gpu" in planned, "shard_archive" in planned) == (True, False, False)
    Image.new("RGB", (9, 9), (0, 99, 0)).save(path)
    assert {"acquire_archive", "shard_archive"} <= set(fresh.jobs())


def test_a_network_of_ones_own_makes_no_other_record_stale(again):
    networks = again.folder / "workflow/scripts/epochbench/networks"
    shutil.copy(networks / "lenet.py", networks / "second.py")
    assert again.jobs() == {}
    again.write_sheet(SHEET_OF_MODELS)
    again.snakemake("--cores", "all")
    assert again.jobs() == {}
    again.change("networks/second.py")
    assert again.stale_records() == ["results/train/cpu/cpu-second/run-1.json"]
    again.change("networks/lenet.py")
    assert len(again.stale_records()) == 2


def test_the_records_of_another_machine_are_stale(again):
    with (again.folder / "workflow/scripts/epochbench/timing/machine/host.py").open("a") as file:
        file.write("\n\ndef cpu_model():\n    return 'another processor'\n")
    # Of the same code, so that the machine alone decides.
    provenance = again.folder / "workflow/scripts/epochbench/timing/provenance.py"
    with provenance.open("a") as file:
        file.write(f"\n\ndef code_digest(model):\n    return {again.record()['code']['digest']!r}\n")
    assert again.jobs()["train_cpu"] == 1


def test_report_draws_again_without_training(again):
    again.result("report/index.html").unlink()
    again.result("aggregate/summary.csv").unlink()
    record = again.result("train/cpu/cpu-reference/run-1.json")
    before = record.stat().st_mtime_ns
    # Neither another protocol nor a cell without records makes it train.
    again.config["optimizer"] = {"momentum": 0.5}
    again.write_sheet(SHEET + "cpu-other\tcpu\t100\t\n")
    said = again.snakemake("--cores", "1", "report")
    assert "train:" not in said
    assert record.stat().st_mtime_ns == before
    assert again.result("report/index.html").exists()
    assert again.result("aggregate/summary.csv").exists()


def test_report_says_what_to_do_where_there_are_no_records(fresh):
    said = fresh.snakemake("--cores", "1", "report", status=1)
    assert "there is no record under results/train yet; run `snakemake --cores all` first" in said


def test_snakemakes_own_report_works_and_names_no_address(again):
    again.snakemake("--report", "report.zip")
    assert (again.folder / "report.zip").stat().st_size > 1000


@pytest.mark.fault("whole runs", "refused")
def test_a_gpu_cell_without_a_gpu_fails_plainly_and_the_others_go_on(again):
    again.write_sheet(SHEET + "gpu-reference\tgpu\t100\t\n")
    again.config["devices"] = {"gpu": "require"}
    record = again.result("train/cpu/cpu-reference/run-1.json")
    before = record.stat().st_mtime_ns
    said = again.snakemake("--cores", "all", status=1, CUDA_VISIBLE_DEVICES="")
    assert "error: cell 'gpu-reference': torch sees 0 GPUs, it needs 1" in said
    assert "devices='{gpu: skip}'" in said
    assert record.stat().st_mtime_ns == before
    assert not again.result("train/gpu/gpu-reference/run-1.json").exists()


@pytest.mark.fault("whole runs", "survived")
def test_without_a_gpu_auto_leaves_the_gpu_cells_out_and_says_so(again):
    again.write_sheet(SHEET + "gpu-reference\tgpu\t100\t\n")
    again.config["devices"] = {"gpu": "auto"}
    again.snakemake("--cores", "all", CUDA_VISIBLE_DEVICES="")
    for name in ("report/index.html", "report/summary.md", "report/speedup.svg"):
        text = again.result(name).read_text()
        assert "No GPU was found on this machine" in text or name.endswith("svg")
    notes = json.loads(again.result("aggregate/summary.json").read_text())["notes"]
    assert any("No GPU was found" in note for note in notes)


@pytest.mark.slow
def test_a_dry_run_plans_what_the_run_would_wherever_its_jobs_go(fresh):
    fresh.write_sheet(SHEET + "gpu-reference\tgpu\t100\t\n")
    fresh.config["devices"] = {"gpu": "auto"}
    fresh.config["cluster"] = {"cpu_cores": 2, "gpu_cores": 2}
    profile = ("--workflow-profile", "profiles/generic", "--cluster-generic-submit-cmd", "false", "--retries", "0")

    def planned(*arguments, **how):
        return re.findall("^Timing .*|^No GPU .*", fresh.snakemake(*arguments, CUDA_VISIBLE_DEVICES="", **how), re.M)

    on_a_cluster = ["Timing 2 cells, 1 runs each: cpu-reference, gpu-reference."]
    assert planned("-n", *profile) == on_a_cluster
    assert planned("-n", "--workflow-profile", "profiles/slurm") == on_a_cluster
    assert planned(*profile, "--seconds-between-status-checks", "1", status=1) == on_a_cluster
    # With what the profile says of this machine.
    here = planned("-n")
    assert here[0] == "Timing 1 cells, 1 runs each: cpu-reference."
    assert here[1].startswith("No GPU was found on this machine")


def test_a_whole_node_is_refused_in_one_line_where_slurm_is_not_asked_for_it(fresh):
    arguments = ("--workflow-profile", "profiles/generic", "--cluster-generic-submit-cmd", "false")
    for dry in ((), ("-n",)):
        said = fresh.snakemake(*arguments, *dry, status=1)
        assert (
            "\ncluster.cpu_cores is all, which Slurm's own profile alone can ask for; give the cores of a node" in said
        )
        # Where in the rules, which Snakemake adds, and nothing of how it came there.
        assert re.findall(r"^  File .* in (.*)$", said, re.MULTILINE) == ["<module>"]
    assert not fresh.result("acquire").exists()
    fresh.snakemake("--workflow-profile", "profiles/slurm", "-n")


@pytest.mark.fault("whole runs", "refused")
@pytest.mark.parametrize(("choice", "status"), [("fail", 1), ("warn", 0)])
def test_a_record_edited_by_hand_ends_the_run_after_everything_is_written(again, choice, status):
    path = again.result("train/cpu/cpu-reference/run-1.json")
    record = json.loads(path.read_text())
    record["timing"]["epoch_seconds"][0] /= 10
    path.write_text(json.dumps(record))
    again.config["on_gate_failure"] = choice
    again.result("report/index.html").unlink()
    said = again.snakemake("--cores", "all", status=status)
    assert "train:" not in said
    found = "Its checksum is wrong: it was changed after the run."
    wrong = f"cpu-reference: untouched: {found}"
    assert found in again.result("report/index.html").read_text()
    assert (wrong in said) if choice == "fail" else (wrong in again.result("report/gates.txt").read_text())


@pytest.mark.fault("whole runs", "refused")
def test_a_lying_server_stops_the_run_with_both_checksums(fresh, archive):
    content = archive.read_bytes()
    with serving(content) as site:
        site.behaviour = "lies"
        fresh.config["dataset"] = {"archive": site.url(), "sha256": hashlib.sha256(content).hexdigest()}
        said = fresh.snakemake("--cores", "all", status=1)
    assert hashlib.sha256(content).hexdigest() in said
    assert "error: http://127.0.0.1" in said
    assert not fresh.result("acquire/dataset.tar.gz").exists()


def test_timing_jobs_have_the_machine_to_themselves(fresh):
    """Whatever the user passes, no two timing jobs overlap: each claims all cores, and holds the lock."""
    fresh.write_sheet(SHEET + "cpu-b\tcpu\t100\t\ncpu-c\tcpu\t100\tchannels_last\n")
    arguments = ("--cores", "4", "--resources", "gpu=9", "mem_mb=10", "--set-threads", "train_cpu=1")
    fresh.snakemake(*arguments, TMPDIR=str(fresh.folder.parent))
    spans = []
    for path in fresh.result("train/cpu").glob("*/run-1.json"):
        record = json.loads(path.read_text())
        end = path.stat().st_mtime
        timed = sum(record["timing"]["epoch_seconds"]) + record["timing"]["warmup_seconds"]
        spans.append((end - timed, end))
    spans.sort()
    assert len(spans) == 3
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


@pytest.mark.fault("whole runs", "refused")
def test_all_mistakes_are_listed_and_nothing_is_touched(again):
    again.config |= {"timing": TIMING | {"runs": 0}, "devices": {"gpu": "maybe"}, "colour": "red"}
    again.write_sheet(SHEET + "gpu-x\tgpu\t-5\t\n")
    kept = {path: path.stat().st_mtime_ns for path in again.folder.joinpath("results").rglob("*")}
    said = again.snakemake("--cores", "all", status=1)
    for part in ("timing.runs: 0", "devices.gpu: 'maybe'", "'colour': unknown key"):
        assert part in said
    again.config = {"cells": "sheet.tsv"}
    assert "sheet.tsv, row 'gpu-x': batch_size -5 is less than 1" in again.snakemake("-n", status=1)
    assert kept == {path: path.stat().st_mtime_ns for path in again.folder.joinpath("results").rglob("*")}


def imported(folder, *arguments, status=0):
    """Return the modules that Snakemake's own process imports, and what it says."""
    command = [sys.executable, "-X", "importtime", "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr[-3000:]
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line}, done.stderr


def test_snakemakes_own_process_imports_nothing_heavy(again, tmp_path):
    """Neither to plan, nor to say the answer at the end, nor to draw what succeeded after a failure."""
    (tmp_path / "Snakefile").write_text("rule all:\n    shell: 'true'\n")
    # Snakemake's own plugins import some of it by themselves.
    anyway, _ = imported(tmp_path, "--cores", "1")
    again.write_sheet(SHEET + "cpu-too-large\tcpu\t100000\t\n")
    again.write_config()
    for arguments, status in ((["-n"], 0), (["--cores", "1"], 1)):
        modules, said = imported(again.folder, *arguments, "--configfile", "mine.yaml", status=status)
        assert "epochbench.config" in modules
        assert (modules - anyway) & HEAVY == set()
    assert "Page, from what succeeded" in said


def test_the_workflows_own_snakefile_does_the_same(again):
    """Where the Snakemake catalog and `module` look for it; what was made through one is up to date for the other."""
    mine = ("--snakefile", "workflow/Snakefile")
    assert again.jobs(*mine) == {}
    again.result("report/index.html").unlink()
    said = again.snakemake("--cores", "all", *mine)
    assert "train:" not in said
    assert "Page: results/report/index.html" in said
    assert again.jobs() == {}


@pytest.mark.fault("partial success", "survived")
def test_a_failure_after_a_success_is_drawn_too(again):
    """The gates.txt of the earlier success is still there, and says nothing of this run."""
    assert again.result("report/gates.txt").exists()
    again.write_sheet(SHEET + "cpu-too-large\tcpu\t100000\t\n")
    said = again.snakemake("--cores", "all", status=1)
    assert "failed: cpu-too-large run 1: cell 'cpu-too-large': batch_size 100000" in said
    assert "Page, from what succeeded: results/report/index.html" in said
    assert "cpu-too-large, run 1" in again.result("report/index.html").read_text()


def test_further_runs_are_timed_until_the_headline_is_sharp(fresh):
    """The second stage plans them once the first runs are there; Snakemake then finds nothing more to do."""
    fresh.write_sheet("cell\tdevice\tbatch_size\tlayers\ncpu-reference\tcpu\t100\t\ncpu-b\tcpu\t100\tpool_first\n")
    # No two runs agree to a millionth: both cells get as many further runs as there may be.
    fresh.config["timing"] = TIMING | {"runs": 2, "target": 1e-6, "more_runs_seconds": 10_000}
    module = fresh.folder / "workflow/scripts/epochbench/aggregate/more_runs.py"
    module.write_text(module.read_text().replace("MOST_RUNS = 40", "MOST_RUNS = 3"))
    # Nor do runs that this machine's other work disturbs get others in their place.
    limits = fresh.folder / "workflow/scripts/epochbench/timing/quiet.py"
    limits.write_text(re.sub(r"(?m)^(MAX_\w+_SHARE) = .*", r"\1 = 1e9", limits.read_text()).replace("= 0.6", "= 0.0"))
    said = fresh.snakemake("--cores", "all")
    plan = json.loads(fresh.result("aggregate/more_runs.json").read_text())
    added = [cell for cell, runs in plan["runs"].items() if runs == 3]
    assert added
    assert all(fresh.result(f"train/cpu/{cell}/run-3.json").exists() for cell in added)
    assert plan["sentence"] in said
    assert plan["sentence"].split(",")[0] in fresh.result("report/index.html").read_text()
    assert fresh.jobs() == {}
    summary = json.loads(fresh.result("aggregate/summary.json").read_text())
    assert {row["cell"]: row["runs"] for row in summary["cells"]} == plan["runs"]


SHEET_IN_BF16 = "cell\tdevice\tbatch_size\tprecision\ncpu-reference\tcpu\t100\t\ncpu-bf16\tcpu\t100\tbf16\n"
IN_BF16, NOT_IN_BF16 = "avx2 avx512bw avx512vl avx512dq", "avx2"
ON_A_CLUSTER = ("--executor", "cluster-generic", "--cluster-generic-submit-cmd", "false", "--jobs", "1")


def on_a_processor(made, flags, choice):
    """Pretend that the machine's processor has these flags alone, and ask for a cell in bf16."""
    made.write_sheet(SHEET_IN_BF16)
    made.config["devices"] = {"gpu": "skip", "cpu_bf16": choice}
    host = made.folder / "workflow/scripts/epochbench/timing/machine/host.py"
    host.write_text(host.read_text().replace('Path("/proc/cpuinfo")', 'Path("cpuinfo")'))
    (made.folder / "cpuinfo").write_text(f"model name\t: a CPU\nflags\t\t: {flags}\n")


@pytest.mark.parametrize(
    ("choice", "flags", "cells"), [("auto", IN_BF16, 2), ("auto", NOT_IN_BF16, 1), ("skip", IN_BF16, 1)]
)
def test_a_cpu_cell_in_bf16_is_timed_where_the_processor_computes_in_it(again, choice, flags, cells):
    on_a_processor(again, flags, choice)
    assert again.jobs()["train_cpu"] == cells


@pytest.mark.parametrize(
    ("where", "choice", "said"),
    [
        ((), "auto", "cpu-bf16 was left out: this processor does not compute in bf16."),
        (ON_A_CLUSTER, "auto", "cpu-bf16 was left out: jobs go to a cluster, and devices.cpu_bf16 is not require."),
        (ON_A_CLUSTER, "require", "There are not two comparable cells yet"),
    ],
)
def test_a_cpu_cell_that_is_left_out_is_said(again, where, choice, said):
    on_a_processor(again, NOT_IN_BF16, choice)
    again.config["cluster"] = {"cpu_cores": 1}
    printed = again.snakemake("--cores", "1", "report", *where)
    assert said in printed
    assert ("left out" in printed) == ("left out" in said)
