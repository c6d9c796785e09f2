#!/bin/sh
# Make the environments of the frameworks beside torch, each from its pins: frameworks.sh FOLDER [NAME...]
# A NAME is a framework's or its environment's; none means all. CUDA=1 takes the pins with CUDA, CUDA=0 those without;
# by default a driver decides. PYTHON names the interpreter. What was made from the same pins stays as it is.
set -eu
folder=$1
shift
workflow=$(dirname "$0")
pins=$workflow/envs/frameworks
python=${PYTHON:-python3}
status=0

complain() {
    echo "frameworks: $1" >&2
    status=1
}

# Every environment that there are pins of.
every() {
    for file in "$pins"/*.in; do
        case $file in *-cuda.in) ;; *) basename "$file" .in ;; esac
    done
}

# The environment of a framework, which its file declares where it is not its own name, or the one of that name.
environment_of() {
    file=$workflow/scripts/epochbench/timing/frameworks/$(echo "$1" | tr - _).py
    declared=$(sed -n 's/^ENVIRONMENT = "\(.*\)"$/\1/p' "$file" 2>/dev/null) || true
    every | grep -Fx -e "${declared:-$1}"
}

# Which pins: with CUDA where it is asked for, or where there is a driver and nothing is said.
build_of() {
    case ${CUDA:-auto} in
    0) ;;
    auto) [ ! -e "$pins/$1-cuda.txt" ] || ! ls /proc/driver/nvidia/version /dev/nvidiactl /dev/dxg >/dev/null 2>&1 || echo -cuda ;;
    *) echo -cuda ;;
    esac
}

make_environment() {
    environment=$1
    place=$folder/$environment
    requirements=$pins/$environment$(build_of "$environment").txt
    if [ ! -e "$requirements" ]; then
        complain "there are no pins of $environment with CUDA ($requirements); leave CUDA=${CUDA:-} out"
        return
    fi
    if cmp -s "$requirements" "$place/made-from.txt" && [ -x "$place/bin/python" ]; then
        echo "frameworks: $environment is there, in $place"
        return
    fi
    before=$(sed -n 's/^# python < 3\.\([0-9]*\)$/\1/p' "$pins/$environment.in")
    if [ -n "$before" ] && "$python" -c "import sys; sys.exit(sys.version_info < (3, $before))" 2>/dev/null; then
        complain "$environment has no wheels for this Python; name one before 3.$before: make frameworks PYTHON=python3.$((before - 1))"
        return
    fi
    if [ -e "$place" ] && [ ! -e "$place/setup.log" ]; then
        complain "$place was not made by make frameworks, so it is left alone; move it away"
        return
    fi
    # Other pins leave nothing behind: builds with and without CUDA would lie in one another.
    rm -rf "$place"
    mkdir -p "$folder"
    # That setting has the set-up write bytecode for all packages, so that no timed process is the one that does.
    if PYTHON=$python TORCH_INDEX='' PYTHONDONTWRITEBYTECODE=1 sh "$workflow/setup.sh" "$place" "$requirements"; then
        cp "$requirements" "$place/made-from.txt.new"
        mv "$place/made-from.txt.new" "$place/made-from.txt"
    else
        status=1
    fi
}

# shellcheck disable=SC2046 # names are words
[ $# -gt 0 ] || set -- $(every)
for name; do
    if environment=$(environment_of "$name"); then
        make_environment "$environment"
    else
        complain "there are no pins of '$name'; there are those of $(every | tr '\n' ' ')"
    fi
done
exit "$status"
