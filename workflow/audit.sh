#!/bin/sh
# Check the pinned packages for known vulnerabilities, by the index's own list. Usage: audit.sh [FOLDER_OF_PROGRAMS]
# Ends with 0 where all were looked up and none is known, 1 where one is, and 75 where some could not be looked up.
set -u
programs=${1:+$1/}
report=$(mktemp)
trap 'rm -f "$report"' EXIT
set --
for pins in requirements.txt workflow/envs/frameworks/*.txt; do set -- "$@" -r "$pins"; done

"${programs}pip-audit" --require-hashes --disable-pip --progress-spinner off --format json --output "$report" \
    "$@" 2>/dev/null
"${programs}python" - "$report" <<'END'
import json
import sys

try:
    packages = json.load(open(sys.argv[1]))["dependencies"]
except ValueError:
    sys.exit(print("audit: the list of vulnerabilities cannot be reached, so nothing is known") or 75)
known = [f"{package['name']} {package['version']}: {flaw['id']}, mended in {', '.join(flaw['fix_versions']) or 'none'}"
         for package in packages for flaw in package.get("vulns", [])]
missed = [package["name"] for package in packages if "skip_reason" in package]
print(*known, f"audit: {len(packages) - len(missed)} of {len(packages)} packages looked up, {len(known)} flaws known",
      sep="\n")
sys.exit(1 if known else 75 if missed else 0)
END
