# train: one run of one cell, in a fresh process that has the machine to itself; its record is the result.
#
# requires: results/shard/manifest.json and the shards beside it
# produces: results/train/{device}/{cell}/run-{run}.json


rule train_cpu:
    input:
        manifest=rules.shard_archive.output.manifest,
    output:
        "results/train/cpu/{cell}/run-{run}.json",
    log:
        "results/logs/train/cpu/{cell}/run-{run}.log",
    priority: timing_priority
    conda:
        "../../environment.yml"
    threads: timing_threads
    resources:
        **cluster_options(),
        mem_mb=memory_mb,
        runtime=runtime_minutes,
        constraint=constraint_of_cell,
    params:
        cell=settings_of_cell,
        protocol=settings_of_protocol(),
        code=code_of_cell,
        machine=machine_fingerprint,
        plan=PLAN,
    message:
        "train: {wildcards.cell}, run {wildcards.run}"
    script:
        "../scripts/train.py"


use rule train_cpu as train_gpu with:
    output:
        "results/train/gpu/{cell}/run-{run}.json",
    log:
        "results/logs/train/gpu/{cell}/run-{run}.log",
    resources:
        **cluster_options(),
        mem_mb=memory_mb,
        runtime=runtime_minutes,
        gpu=gpus_of_cell,
        gpu_model=gpu_model_of_cell,
        gpu_manufacturer="nvidia",
        constraint=constraint_of_cell,
