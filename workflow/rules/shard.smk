# shard: turn the archive into tensor shards and their manifest.
#
# requires: results/acquire/dataset.tar.gz, and the folder of dataset.source folder
# produces: results/shard/{train,test}-NNNNN-of-NNNNN.safetensors, results/shard/manifest.json, results/shard/samples.png
#
# One job makes all shards: a gzip stream can only be read from its beginning, so jobs side by side would each
# decompress the whole archive (benchmarks/sharding.py shows what that costs).


rule shard_archive:
    input:
        archive=ARCHIVE,
        manifest=ARCHIVE_MANIFEST,
    output:
        **CARRIED,
        manifest=MANIFEST,
    log:
        "results/logs/shard/shard.log",
    conda:
        "../envs/acquire.yaml"
    threads: sharding_threads
    resources:
        **cluster_options(),
        mem_mb=2000,
    params:
        shard_size=config["dataset"]["shard_size"],
        code=code_of_shards,
    message:
        "shard: archive to tensor shards"
    script:
        "../scripts/shard.py"


rule draw_samples:
    input:
        **CARRIED,
        manifest=MANIFEST,
    output:
        SAMPLES,
    log:
        "results/logs/shard/samples.log",
    localrule: True
    conda:
        "../envs/report.yaml"
    message:
        "shard: a picture of some images"
    script:
        "../scripts/samples.py"
