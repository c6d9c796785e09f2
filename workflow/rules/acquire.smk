# acquire: get the archive and verify it, before anything is read from it.
#
# requires: the internet, or dataset.archive, or neither (then the stand-in is made)
# produces: results/acquire/dataset.tar.gz, results/acquire/manifest.json


rule acquire_archive:
    input:
        local=local_archive,
    output:
        archive=ARCHIVE,
        manifest=ARCHIVE_MANIFEST,
    log:
        "results/logs/acquire/acquire.log",
    localrule: True
    conda:
        "../envs/acquire.yaml"
    params:
        wanted=wanted_archive,
        state=state_of_folder,
    message:
        "acquire: the archive"
    script:
        "../scripts/acquire.py"
