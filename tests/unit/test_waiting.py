"""What the console says of jobs that wait in Slurm's queue."""

import logging
import math

import pytest

from epochbench.cluster import advice, minutes_of, nodes_of
from epochbench.errors import BenchmarkError
from epochbench.waiting import (
    FIRST_WORD_SECONDS,
    LOOK_SECONDS,
    LOOKS,
    NEXT_WORD_SECONDS,
    Refusals,
    Waiting,
    Watch,
    remedy,
    waiting_jobs,
)

QUEUE = """7|PENDING|PartitionConfig|rule_train_cpu_wildcards_cpu-reference_1|0b7d-51|/here
8|RUNNING|None|rule_train_cpu_wildcards_cpu-reference_2|0b7d-51|/here
9|PENDING|Resources|rule_train_gpu_wildcards_gpu-best_1|0b7d-51|/elsewhere
"""
STUCK = Waiting("7", "train cpu cpu-reference 1", "PartitionConfig")
PATIENT = Waiting("9", "train gpu gpu-best 1", "Resources")


def test_only_what_waits_in_this_folder_is_looked_at():
    assert waiting_jobs(QUEUE, "/here") == [STUCK]
    assert waiting_jobs("slurm_load_jobs error: timed out\n", "/here") == []


@pytest.mark.parametrize("comment", ["(null)", ""])
def test_a_job_without_a_comment_is_known_by_its_name(comment):
    (job,) = waiting_jobs(f"7|PENDING|Resources|{comment}|train_cpu|/here\n", "/here")
    assert job.what == "train cpu"


@pytest.mark.parametrize(
    ("reason", "key"),
    [
        ("PartitionConfig", "cluster.cpu_cores"),
        ("PartitionTimeLimit", "cluster.runtime_minutes"),
        ("QOSMaxWallDurationPerJobLimit", "cluster.runtime_minutes"),
        ("AssocMaxCpuPerJobLimit", "cluster.cpu_cores"),
        ("QOSMaxGRESPerNode", "cluster.qos"),
        ("QOSMinCpuNotSatisfied", "cluster.qos"),
        ("MaxMemPerLimit", "cluster.memory_mb"),
        ("BadConstraints", "cluster.constraint"),
        ("InvalidAccount", "cluster.account"),
        ("InvalidQOS", "cluster.qos"),
        ("JobHeldUser", "scontrol release"),
        # As sbatch writes them.
        ("Memory specification can not be satisfied", "cluster.memory_mb"),
        ("Requested node configuration is not available", "gpu_model"),
        ("More processors requested than permitted", "cluster.cpu_cores"),
        ("Requested time limit is invalid (missing or exceeds some limit)", "cluster.runtime_minutes"),
        ("invalid partition specified: no", "cluster.partition"),
        ("Invalid feature specification", "cluster.constraint"),
        ("Invalid account or account/partition combination specified", "cluster.account"),
        ("Invalid qos specification", "cluster.qos"),
        ("Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)", "cluster.qos"),
    ],
)
def test_a_reason_that_no_waiting_ends_names_the_key_to_change(reason, key):
    assert key in remedy(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "Resources", "Priority", "None", "Licenses", "ReqNodeNotAvail", "PartitionDown",
        # Too many jobs at once; and a node that is drained, where a job asks for one.
        "Unable to contact slurm controller (connect failure)",
        "QOSJobLimit", "AssocMaxJobsLimit", "QOSMaxNodePerUserLimit", "AssocGrpCpuLimit", "PartitionNodeLimit",
    ],
)  # fmt: skip
def test_a_reason_that_may_end_has_no_remedy(reason):
    assert remedy(reason) is None


def test_a_job_that_can_never_start_is_told_once_and_ended_where_asked():
    said, ended = [], []
    watch = Watch(said.append, ended.extend)
    watch.look([STUCK], 0)
    assert said == []  # its reason may be an old one
    assert LOOK_SECONDS * LOOKS < 60  # told within a minute
    watch.look([STUCK], 10)
    watch.look([STUCK], 20)
    assert said == [
        "train cpu cpu-reference 1 (job 7) can never start: Slurm says PartitionConfig; change cluster.cpu_cores, "
        "cluster.gpu_cores or cluster.memory_mb, or cluster.partition (`make cluster` shows what there is)."
    ]
    assert ended == ["7"]


def test_a_job_that_sbatch_does_not_take_is_told_with_the_key_to_change():
    said = []
    log = logging.Logger("as Snakemake's")
    log.addHandler(Refusals(said.append))
    first = "sbatch: error: Memory specification can not be satisfied"
    then = "sbatch: error: Batch job submission failed: Requested node configuration is not available"
    error = f"SLURM sbatch failed. The error message was '{first}\n{then}'.\n    sbatch call:\n        sbatch --mem 9"
    log.error("Error in rule train_cpu", extra={"rule_name": "train_cpu", "rule_msg": error})
    log.error("Error in rule train_gpu", extra={"rule_name": "train_gpu", "rule_msg": None})
    log.error(f"SLURM sbatch failed for array job submission. The error message was '{then}'.\n")
    memory, configuration = said
    assert memory == (
        "train cpu was refused: Slurm says Memory specification can not be satisfied; change cluster.memory_mb, or "
        "cluster.partition (`make cluster` shows what there is)."
    )
    assert configuration.startswith(
        "a job was refused: Slurm says Requested node configuration is not available; change"
    )


def test_without_being_asked_nothing_is_ended():
    watch = Watch([].append)
    for now in range(3):
        watch.look([STUCK], now)


def test_who_waits_is_told_now_and_then_with_the_reason():
    said = []
    watch = Watch(said.append)
    for now in (0, FIRST_WORD_SECONDS - 1, FIRST_WORD_SECONDS, FIRST_WORD_SECONDS + NEXT_WORD_SECONDS - 1):
        watch.look([PATIENT, PATIENT._replace(job="10")], now)
    assert said == ["Waiting for 1 min 0 s now: train gpu gpu-best 1 (job 9) and 1 more; Slurm says Resources."]
    watch.look([PATIENT], FIRST_WORD_SECONDS + NEXT_WORD_SECONDS)
    assert len(said) == 2
    watch.look([], 9999)
    watch.look([PATIENT], 10_000)  # another wait begins
    assert len(said) == 2


def test_a_clusters_nodes_become_the_command_for_them():
    (one, two) = nodes_of("gpu|4|96|512000|gpu:h100:4(S:0-1),gpu:a30:2|ib,fast|1-00:00:00|up\ncpu|1|2|4000|(null)|(null)|1:00:00|down\n")  # fmt: skip  # noqa: E501
    assert one.gpus == {"h100": 4, "a30": 2}
    said = advice(one, 8000, 30)
    assert said[0] == "gpu: 4 x 96 cores, 512000 MB, 4 x h100, 2 x a30, features ib,fast, at most 1-00:00:00"
    assert said[1].endswith("cluster='{partition: gpu, gpu_model: h100}'")
    other = advice(one, 8000, 30, "amd")
    assert "gpu_manufacturer: amd" in other[1]
    assert "--gres=gpu:1" in other[3]
    assert "gpu_manufacturer" not in said[1]
    small = advice(two, 8000, 30)
    assert small[0].endswith("down now")
    assert small[1].endswith("cluster='{partition: cpu, memory_mb: 4000}' devices='{gpu: skip}'")
    assert "runtime_minutes: 60" in advice(two, 8000, 90)[1]
    assert [minutes_of(limit) for limit in ("1-00:00:00", "1:30:00", "30:00", "infinite")] == [1440, 90, 30, math.inf]
    with pytest.raises(BenchmarkError, match="nobody here can read"):
        nodes_of("what is this\n")
