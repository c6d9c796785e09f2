#!/usr/bin/env bash
# Times a GPU node that has no internet but a torch of its own, and brings the results out.
#
#   benchmarks/gpu_node.sh WHEELS OUT [ARCHIVE SHA256]
#
# WHEELS is a folder of wheels of whatever the node lacks (pip download -r requirements.txt -d WHEELS elsewhere; leave out
# what the node has); they go into a temporary folder, not into its Python. The default sheet is timed on the full-size
# synthetic stand-in, then the sweep, the networks and the frameworks that the node has with one run a cell, and last the
# real images of ARCHIVE.
# Each of these parts ends in OUT/NAME.zip (an export), OUT/NAME.html (its page) and OUT/NAME.json (its summary). Before
# them come the tests that need a GPU; what they print is in OUT/tests.txt.
# PARTS="tests default sweep models frameworks real" chooses; TIMING replaces the timing keys (TIMING='{runs: 1}'); SNAKEMAKE_OPTIONS goes to every part.
# A part that is interrupted goes on where it stopped when the script is called again.
set -euo pipefail
[ $# = 2 ] || [ $# = 4 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2; }
[ $# = 2 ] || [ -r "$3" ] || { echo "$3: no such archive" >&2; exit 2; }
wheels=$(realpath "$1")
archive=$(realpath "${3:-.}")
mkdir -p "$2"
out=$(realpath "$2")
cd "$(dirname "$0")/.."
site=${TMPDIR:-/tmp}/epochbench-site-$(id -u)

if [ ! -e "$site/.ready" ]; then
    python3 -m pip install -q --no-index --no-deps --no-cache-dir --upgrade --target "$site" "$wheels"/*.whl
    touch "$site/.ready"
fi
export PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH} PATH=$site/bin:$PATH PYTHONUNBUFFERED=1
nvidia-smi --query-gpu=name,driver_version,clocks.sm,temperature.gpu,power.limit --format=csv || true

failed=()
part() {
    local name=$1 data=$2 sheet=$3 timing=$4
    echo "== $name =="
    # What an earlier part left must not be taken for this one's, should it fail.
    (cd results && rm -f export.zip report/index.html aggregate/summary.json report/speedup.svg)
    # shellcheck disable=SC2086 # options are words
    python3 -m snakemake --cores all ${SNAKEMAKE_OPTIONS:-} --config dataset="$data" cells="$sheet" timing="$timing" ||
        failed+=("$name")
    python3 -m snakemake --cores 1 export --config cells="$sheet" timing="$timing" >/dev/null 2>&1 || true
    for file in export.zip report/index.html aggregate/summary.json report/speedup.svg; do
        [ ! -e "results/$file" ] || cp "results/$file" "$out/$name.${file##*.}"
    done
}

# A test that is skipped for want of a GPU has not shown anything.
tests() {
    echo "== tests =="
    python3 -m pytest -o addopts= -p no:cacheprovider -rs -m gpu tests/gpu 2>&1 | tee "$out/tests.txt" || failed+=(tests)
    ! grep -qE '[0-9]+ skipped' "$out/tests.txt" || failed+=("tests (skipped)")
}

for name in ${PARTS:-tests default sweep models frameworks real}; do
    case $name in
    tests) tests ;;
    default) part default "{source: synthetic}" config/cells.tsv "${TIMING:-{\}}" ;;
    sweep) part sweep "{source: synthetic}" config/sweep.tsv "${TIMING:-{runs: 1\}}" ;;
    models) part models "{source: synthetic}" config/models.tsv "${TIMING:-{runs: 1\}}" ;;
    frameworks) part frameworks "{source: synthetic}" config/frameworks.tsv "${TIMING:-{runs: 1\}}" ;;
    real) [ $# = 2 ] || part real "{archive: '$archive', sha256: $4}" config/cells.tsv "${TIMING:-{runs: 1\}}" ;;
    esac
done
[ ${#failed[@]} = 0 ] || { echo "failed: ${failed[*]}" >&2; exit 1; }
