# train: one run of one cell, in a fresh process that has the machine to itself; its record is the result.
#
# requires: results/shard/manifest.json and the shards beside it
# produces: results/train/{device}/{cell}/run-{run}.json, results/train/{device}/reference.json


# Where a storage carries the files of jobs: what a sheet names of a user's own.
rule pack_networks:
    input:
        files_of_users,
    output:
        "results/networks.zip",
    log:
        "results/logs/train/networks.log",
    localrule: True
    conda:
        "../envs/acquire.yaml"
    params:
        models=networks_of_users(),
    message:
        "train: the networks of one's own, to be carried"
    script:
        "../scripts/pack_networks.py"


# What this machine can do, before anything is timed on it: a run that reaches clearly less was disturbed.
rule calibrate_cpu:
    input:
        # Where there is no data there is nothing to time, and nothing to ask a cluster for.
        MANIFEST,
    output:
        CPU_REFERENCE,
    log:
        "results/logs/train/cpu/reference.log",
    conda:
        "../envs/train.yaml"
    threads: cpu_reference_threads
    resources:
        **cluster_options(),
        cpus_per_task=cpu_reference_cpus_per_task,
        mem_mb=memory_mb,
        runtime=runtime_minutes,
    params:
        device="cpu",
        code=provenance.calibration_digest(),
        machine=machine_fingerprint,
        stack=stack_of_jobs,
    message:
        "train: the machine's reference calibration ({params.device})"
    script:
        "../scripts/calibrate.py"


use rule calibrate_cpu as calibrate_gpu with:
    output:
        GPU_REFERENCE,
    log:
        "results/logs/train/gpu/reference.log",
    threads: gpu_reference_threads
    resources:
        **cluster_options(),
        cpus_per_task=gpu_reference_cpus_per_task,
        mem_mb=memory_mb,
        runtime=runtime_minutes,
        gpu=reference_gpus,
        gpu_model=reference_gpu_model,
        gpu_manufacturer=config["cluster"]["gpu_manufacturer"],
        gres=reference_gres,
    params:
        device="gpu",


rule train_cpu:
    input:
        **CARRIED,
        **CARRIED_NETWORKS,
        manifest=MANIFEST,
        reference=CPU_REFERENCE,
    output:
        "results/train/cpu/{cell}/run-{run}.json",
    log:
        "results/logs/train/cpu/{cell}/run-{run}.log",
    priority: timing_priority
    conda:
        "../envs/train.yaml"
    threads: timing_threads
    resources:
        **cluster_options(),
        cpus_per_task=timing_cpus_per_task,
        mem_mb=memory_mb,
        runtime=runtime_minutes,
        constraint=constraint_of_cell,
    params:
        cell=settings_of_cell,
        protocol=settings_of_protocol(),
        code=code_of_cell,
        machine=machine_fingerprint,
        stack=stack_of_cell,
        plan=plan_of_jobs,
    message:
        "train: {wildcards.cell}, run {wildcards.run}"
    script:
        "../scripts/train.py"


use rule train_cpu as train_gpu with:
    input:
        **CARRIED,
        **CARRIED_NETWORKS,
        manifest=MANIFEST,
        reference=GPU_REFERENCE,
    output:
        "results/train/gpu/{cell}/run-{run}.json",
    log:
        "results/logs/train/gpu/{cell}/run-{run}.log",
    resources:
        **cluster_options(),
        cpus_per_task=timing_cpus_per_task,
        mem_mb=memory_mb,
        runtime=runtime_minutes,
        gpu=gpus_of_cell,
        gpu_model=gpu_model_of_cell,
        gpu_manufacturer=config["cluster"]["gpu_manufacturer"],
        gres=gres_of_cell,
        constraint=constraint_of_cell,
