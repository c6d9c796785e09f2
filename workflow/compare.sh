#!/bin/sh
# Compare the records that exist with an export, and end with a status that tells what came of it.
# Usage: compare.sh FOLDER_OF_PROGRAMS BASE [OPTION_OF_SNAKEMAKE ...]; the folder is "" for the programs on the PATH.
# Ends with 0 where nothing is to be complained of, 3 for a regression, 4 where a cell is missing, 5 where a number does not
# count, 6 where the noise is too much and compare.when_unsure is fail, and 1 where there was no comparison at all.
set -u
programs=${1:+$1/}
base=$2
shift 2
rm -f results/report/comparison.json

"${programs}snakemake" --cores 1 compare --config compare="{base: $base}" "$@"
ended=$?
[ -f results/report/comparison.json ] || exit 1
"${programs}python" -c 'import json, sys; sys.exit(json.load(sys.stdin)["status"])' <results/report/comparison.json || exit
[ $ended -eq 0 ] || exit 1
