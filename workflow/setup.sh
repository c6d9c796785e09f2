#!/bin/sh
# Make a virtual environment from the pinned, hash-checked requirements: setup.sh FOLDER REQUIREMENTS
# PYTHON names the interpreter. Fails with one line where that is too old or the package index is out of reach.
set -eu
folder=$1
requirements=$2
python=${PYTHON:-python3}

fail() {
    echo "setup: $1" >&2
    exit 1
}

command -v "$python" >/dev/null || fail "'$python' is not there; install Python 3.11 or newer, or name one: make PYTHON=..."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is Python $version; 3.11 or newer is needed, name one: make PYTHON=python3.12"

echo "setup: Python $version into $folder"
"$python" -m venv "$folder" || fail "no virtual environment could be made in $folder; is Python's venv module installed?"
log=$folder/setup.log
: >"$log" # there before anything looks into it
echo "setup: downloading and installing, some gigabytes with CUDA; every file is checked against its hash"
status=0
"$folder/bin/python" -m pip install --disable-pip-version-check --require-hashes --progress-bar off \
    -r "$requirements" >"$log" 2>&1 &
installer=$!
trap 'kill "$installer" 2>/dev/null || true' INT TERM
said=
while kill -0 "$installer" 2>/dev/null; do
    count=$(grep -c '^Collecting' "$log" || true)
    if grep -q '^Installing' "$log"; then now="setup: installing $count packages"; else now="setup: $count packages downloaded"; fi
    if [ "$now" != "$said" ]; then
        # On a terminal one line that changes; elsewhere a line for every tenth package.
        if [ -t 2 ]; then printf '\r%s ' "$now" >&2; else case $now in *0\ packages*|*installing*) echo "$now" >&2 ;; esac; fi
        said=$now
    fi
    sleep 1
done
wait "$installer" || status=$?
[ ! -t 2 ] || echo >&2
if [ "$status" -ne 0 ]; then
    if grep -qiE 'connection|resolve|timed out|unreachable|no matching distribution' "$log"; then
        fail "the package index cannot be reached or lacks a pinned package; $(grep -E '^ERROR' "$log" | head -n 1) (all of it: $log)"
    fi
    fail "pip failed: $(grep -E '^ERROR' "$log" | head -n 1) (all of it: $log)"
fi
touch "$folder/.ready"
echo "setup: ready"
