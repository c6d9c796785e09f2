#!/bin/sh
# Check the pinned packages for known vulnerabilities, by the index's own list. Usage: audit.sh [FOLDER_OF_PROGRAMS]
# Ends with 0 where all were looked up and none is known, 1 where one is, and 75 where some could not be looked up.
set -u
programs=${1:+$1/}
reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

# One by one: a package may be pinned to another version in the environment of another framework.
for pins in requirements.txt workflow/envs/frameworks/*.txt; do
    "${programs}pip-audit" --require-hashes --disable-pip --progress-spinner off --format json \
        --output "$reports/${pins##*/}.json" -r "$pins" 2>"$reports/said" || tail -n 1 "$reports/said" >&2
done
"${programs}python" - "$reports" requirements.txt workflow/envs/frameworks/*.txt <<'END'
import json
import sys
from pathlib import Path

folder, *pins = sys.argv[1:]
every = []
for name in pins:
    try:
        found = json.loads((Path(folder) / f"{Path(name).name}.json").read_text())["dependencies"]
    except (OSError, ValueError):
        sys.exit(print(f"audit: the vulnerabilities of {name} could not be looked up, so nothing is known of them") or 75)
    every += found
known = dict.fromkeys(
    f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
    for package in every for flaw in package.get("vulns", []))
packages = {(package["name"], package.get("version")) for package in every}
missed = {(package["name"], package.get("version")) for package in every if "skip_reason" in package}
print(*known, f"audit: {len(packages) - len(missed)} of {len(packages)} packages looked up, {len(known)} flaws known",
      sep="\n")
sys.exit(1 if known else 75 if missed else 0)
END
