# The paths: what one rule makes and another one reads.
#
# requires: nothing
# produces: the constants below
#
# By rules.x.output a rule would ask for another one by the name that it has here, which is not the one that it has in a
# workflow that imports some rules of this one, or one rule anew.

ARCHIVE = "results/acquire/dataset.tar.gz"
ARCHIVE_MANIFEST = "results/acquire/manifest.json"
MANIFEST = "results/shard/manifest.json"
SAMPLES = "results/shard/samples.png"
CPU_REFERENCE = "results/train/cpu/reference.json"
GPU_REFERENCE = "results/train/gpu/reference.json"
MORE_RUNS = "results/aggregate/more_runs.json"
EPOCHS = "results/aggregate/epochs.csv"
TABLE = "results/aggregate/summary.csv"
SUMMARY = "results/aggregate/summary.json"
# The figure, the page, and what is sent on.
PAGE = {
    "png": "results/report/speedup.png",
    "svg": "results/report/speedup.svg",
    "pdf": "results/report/speedup.pdf",
    "page": "results/report/index.html",
    "text": "results/report/summary.md",
    "card": "results/report/card.png",
    "card_svg": "results/report/card.svg",
    "lines": "results/report/card.txt",
    "badge": "results/report/badge.svg",
}
GATES = "results/report/gates.txt"
PLAN = "results/logs/plan.json"
