#!/bin/sh
# How long the set-up of a fresh clone takes through uv and through pip, in turn, with nothing in their caches.
#
#   benchmarks/setup_time.sh [ROUNDS]
#
# Each set-up is `make .venv/.ready` in a clone of the last commit, and downloads everything.
set -eu
rounds=${1:-2}
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone --quiet "$here" "$work/clone"

# Print the seconds of one set-up.
timed() {
    rm -rf "$work/clone/.venv" "$work/uv" "$work/pip"
    sync # what the one before left to be written is not this one's work
    begun=$(date +%s)
    (
        export UV_CACHE_DIR="$work/uv" PIP_CACHE_DIR="$work/pip"
        # A setting that uv has no counterpart of leaves the work to pip; an empty list constrains nothing.
        [ "$1" = uv ] || export PIP_CONSTRAINT=/dev/null
        unset PYTHONDONTWRITEBYTECODE # where it is set, bytecode for all packages is written at once
        cd "$work/clone" && make .venv/.ready
    ) >"$work/$1.log" 2>&1 || { cat "$work/$1.log" >&2 && exit 1; }
    by=$(grep -q 'pip installs' "$work/$1.log" && echo pip || echo uv)
    [ "$by" = "$1" ] || { cat "$work/$1.log" >&2 && exit 1; }
    echo $(($(date +%s) - begun))
}

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    uv=$(timed uv)
    pip=$(timed pip)
    echo "round $round: uv $uv s, pip $pip s, $((10 * pip / uv))/10 times as fast"
done
