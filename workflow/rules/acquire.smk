# acquire: get the archive and verify it, before anything is read from it.
#
# requires: the internet, or dataset.archive, or neither (then the stand-in is made)
# produces: results/acquire/dataset.tar.gz, results/acquire/manifest.json


localrules:
    acquire_archive,


rule acquire_archive:
    input:
        local=local_archive,
    output:
        archive="results/acquire/dataset.tar.gz",
        manifest="results/acquire/manifest.json",
    log:
        "results/logs/acquire/acquire.log",
    conda:
        "../../environment.yml"
    params:
        wanted=wanted_archive,
    message:
        "acquire: the archive"
    script:
        "../scripts/acquire.py"
