#!/bin/sh
# Make a virtual environment from the pinned, hash-checked requirements: setup.sh FOLDER REQUIREMENTS
# PYTHON names the interpreter; TORCH_INDEX an index whose torch and torchvision are taken instead of the pinned files,
# with what they alone need.
# Fails with one line where Python is too old or the package index is out of reach.
set -eu
folder=$1
requirements=$2
python=${PYTHON:-python3}
torch_index=${TORCH_INDEX:-}
workflow=$(dirname "$0")
said= # the last line of progress
export PIP_USER=0 # a setting that a virtual environment cannot obey
MISMATCH='Hash mismatch|DO NOT MATCH THE HASHES' # uv's words and pip's

fail() {
    echo "setup: $1" >&2
    exit 1
}

# The pins whose names match a pattern ('yes'), or all others ('no'), with their hashes.
pins() {
    awk -v names="^($2)==" -v wanted="$1" '/^[a-z]/ {take = ($0 ~ names) == (wanted == "yes")} take' "$requirements"
}

# What the log says so far: uv and pip use words of their own.
progress() {
    if grep -qE '^(Installing|Prepared)' "$log"; then
        echo "setup: installing"
    elif [ "$by" = uv ]; then
        echo "setup: $(grep -c '^ *Downloaded' "$log") of $(grep -c '^Downloading' "$log") large files downloaded"
    else
        echo "setup: $(grep -c '^Collecting' "$log") packages downloaded"
    fi
}

# Nothing goes on writing when this has ended.
break_off() {
    trap '' HUP INT QUIT TERM
    { kill "${!:-}" && wait "$!"; } 2>/dev/null || true
    # Until none of its session is left; no longer than a second, since the dead count where no init collects them.
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -KILL "-${!:-}" 2>/dev/null && sleep 0.1; done
    fail "broken off; the same command goes on"
}

# Run a command with its output in the log, and say how far it is.
watched() {
    "$@" >"$log" 2>&1 &
    while kill -0 "$!" 2>/dev/null; do
        now=$(progress)
        if [ "$now" != "$said" ]; then
            # On a terminal one line that changes; elsewhere a line for every tenth package.
            if [ -t 2 ]; then printf '\r%s ' "$now" >&2; else case $now in *0\ packages* | *0\ of\ [1-9]* | *installing*) echo "$now" >&2 ;; esac; fi
            said=$now
        fi
        sleep 0.2
    done
    [ ! -t 2 ] || echo >&2
    wait "$!"
}

# Nothing is built in an environment of its own, whose tools would be fetched past the hashes.
by_pip() {
    "$folder/bin/python" -m pip install --disable-pip-version-check --require-hashes --no-build-isolation \
        --progress-bar off "$@"
}

ensure_pip() {
    "$folder/bin/python" -c 'import pip' 2>/dev/null || "$folder/bin/python" -m ensurepip
}

# uv alone, by the interpreter's own pip where that can install elsewhere, since to make another one takes seconds.
fetch_uv() {
    if "$python" -c 'import pip, sys; sys.exit(int(pip.__version__.split(".")[0]) < 23)' 2>/dev/null; then
        with_pip=$python
    else
        with_pip=$folder/bin/python
        ensure_pip || return
    fi
    "$with_pip" -m pip --python "$folder/bin/python" install --disable-pip-version-check --require-hashes --no-compile \
        --only-binary :all: --progress-bar off ${anew:+--force-reinstall} -r "$folder/uv.txt"
}

by_uv() {
    "$with_pip" "$workflow/uv_install.py" "$folder/bin/uv" --python "$folder/bin/python" --require-hashes \
        --no-build-isolation ${anew:+--reinstall} "$@"
}

# uv leaves bytecode to the first import, which of torch is the calibration's: a timed process writes next to none of it.
# But its compiler is imported by those alone that use it, nearly all of them on a GPU. So where there is one, here or in
# a cluster, all of torch has bytecode from the start, except for parts that no job imports. Where Python may not write
# it, all packages have it.
bytecode() {
    if [ -n "${PYTHONDONTWRITEBYTECODE:-}" ]; then
        set -- "$folder/lib"
    elif nvidia_driver || command -v sbatch >/dev/null; then
        set -- "$folder"/lib/python*/site-packages/torch
    else
        return 0
    fi
    "$folder/bin/python" -m compileall -qq -j 0 -x 'torch/(_vendor|testing/_internal|distributed/(checkpoint|elastic|pipelining))/' \
        "$@" || true # some packages carry files for other versions of Python
}

nvidia_driver() {
    [ -e /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ] || [ -e /dev/dxg ]
}

# torch and torchvision from that index alone: pip passes over empty settings, so every other place becomes this one.
torch_by_pip() {
    PIP_NO_INDEX=0 PIP_EXTRA_INDEX_URL=$torch_index PIP_FIND_LINKS=$torch_index \
        "$folder/bin/python" -m pip install --disable-pip-version-check --no-deps --progress-bar off \
        --index-url "$torch_index" -r "$folder/torch.txt"
}

# Then what they need and nothing here pins: AMD's Triton, Intel's runtime, another CUDA. Some lie in that index alone,
# and it has at times lacked others. Whatever is pinned stays as it was checked.
needed_by_torch() {
    "$folder/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
        --extra-index-url "$torch_index" -c "$folder/constraints.txt" -r "$folder/torch.txt"
}

# The first error in the log, as a part of one line.
reason() {
    grep -iE '^ *(error|cause)' "$log" | head -n 2 | tr '\n' ' ' | tr -s ' ' | sed 's/ $//'
}

refuse() {
    if grep -qE "$MISMATCH" "$log"; then
        fail "a file is not the one that $requirements names, so nothing of it was installed: $(reason) (all of it: $log)"
    elif grep -q 'subprocess-exited-with-error' "$log"; then
        fail "a package has no wheel for Python $version here and could not be compiled; is a C compiler there, with Python's headers? $(reason) (all of it: $log)"
    elif grep -qiE 'connection|resolve|timed out|unreachable|no matching distribution' "$log"; then
        fail "the package index cannot be reached or lacks a pinned package; $(reason) (all of it: $log)"
    fi
    fail "pip failed: $(reason) (all of it: $log)"
}

command -v "$python" >/dev/null || fail "'$python' is not there; install Python 3.11 or newer, or name one: make PYTHON=..."
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "'$python' is Python $version; 3.11 or newer is needed, name one: make PYTHON=python3.12"
if [ "$(uname)" = Darwin ] && [ "$("$python" -c 'import platform; print(platform.machine())')" != arm64 ]; then
    fail "'$python' is made for Intel Macs, for which torch has no files any more; on an Apple chip name one made for it: make PYTHON=..."
fi
python=$("$python" -c 'import sys; print(sys.executable)') # itself, where a version manager's script stands before it

# All that writes is in a session of its own, to be ended as a whole; this one waits, and hears a signal at once.
if [ "${3:-}" != inside ]; then
    trap break_off HUP INT QUIT TERM
    PYTHON=$python "$python" -c 'import os, sys; os.setsid(); os.execvp("sh", ["sh", *sys.argv[1:]])' "$0" "$@" inside &
    wait "$!"
    exit
fi

echo "setup: Python $version into $folder"
told=$("$python" -m venv --without-pip "$folder" 2>&1) ||
    fail "no virtual environment could be made in $folder: $(echo "$told" | tail -n 1)"
# Where an earlier set-up was broken off, a package may be there in part, which no installer notices by itself.
anew=
[ ! -e "$folder/.unfinished" ] || anew=yes
echo "$torch_index" >"$folder/.unfinished" # for the command that goes on
rm -f "$folder/.ready"
log=$folder/setup.log
: >"$log" # there before anything looks into it

if [ -n "$torch_index" ]; then
    pins no 'torch|torchvision|triton|cuda-.*|nvidia-(cu|nccl|nv).*' >"$folder/pins.txt"
    echo "setup: torch and torchvision come from $torch_index, in the pinned versions, but not checked against a pinned hash, nor is what they alone need"
else
    cp "$requirements" "$folder/pins.txt"
    if [ "$(uname)" = Linux ] && ! nvidia_driver && grep -q '^nvidia-cublas==' "$requirements" && grep -q '^torch==' "$requirements"; then
        echo "setup: no NVIDIA driver is found; without CUDA it is some gigabytes less: make run TORCH_INDEX=... (README says which)"
    fi
fi
echo "setup: downloading and installing, some gigabytes with CUDA; every file is checked against its hash"
pins yes uv >"$folder/uv.txt"
pins yes 'pip|setuptools' >"$folder/tools.txt" # before what has no wheel, which they build
by=uv
if fetch_uv >"$log" 2>&1 && by_uv -r "$folder/tools.txt" >"$log" 2>&1 && watched by_uv -r "$folder/pins.txt"; then
    bytecode
else
    ! grep -qE "$MISMATCH" "$log" || refuse
    echo "setup: pip installs, since uv could not: $(reason)"
    by=pip
    ensure_pip >"$log" 2>&1 || fail "'$python' has no pip and can make none; is Python's venv module installed? (all of it: $log)"
    [ ! -s "$folder/tools.txt" ] || by_pip -r "$folder/tools.txt" >"$log" 2>&1 || refuse
    watched by_pip --force-reinstall -r "$folder/pins.txt" || refuse # uv may have left a part of a package
fi

if [ -n "$torch_index" ]; then
    pins yes 'torch|torchvision' | sed -n 's/^\([a-z]*==[^ ;]*\).*/\1/p' >"$folder/torch.txt"
    ensure_pip >"$log" 2>&1 || refuse
    awk '/^[a-z]/ {sub(/ *\\$/, ""); sub(/ --hash.*/, ""); print}' "$folder/pins.txt" >"$folder/constraints.txt"
    watched torch_by_pip || refuse
    watched needed_by_torch || refuse
    "$folder/bin/python" -c 'import torch, torchvision' >>"$log" 2>&1 ||
        fail "torch and torchvision from $torch_index cannot be imported (why: $log)"
fi
echo "$torch_index" >"$folder/.ready" # which the Makefile compares
rm -f "$folder/.unfinished"
echo "setup: ready"
