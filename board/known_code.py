"""Write code.tsv: the digest of the timing code at every commit of this repository's history, each by its own rule.

Results on the board whose code is neither there nor checked out are marked as other code. Run it before a release,
in a clone with the whole history and in an environment with the dependencies.

Usage: python board/known_code.py > board/code.tsv
"""

import os
import subprocess
import sys
import tempfile

# Where the function stood; before there was one digest for each network, it took no argument.
WORK = """
try:
    from epochbench.timing.provenance import code_digest
except ImportError:
    from epochbench.provenance import code_digest
try:
    from epochbench import networks
    for model in networks.names():
        print(code_digest(model), model, sep="\\t")
except (ImportError, TypeError, AttributeError):
    print(code_digest(), "every network", sep="\\t")
"""


def digests(commit: str) -> list[str]:
    """Return a line for each network of a commit: its code's digest, a tab, and its name."""
    with tempfile.TemporaryDirectory() as folder:
        packed = subprocess.run(["git", "archive", commit, "workflow"], stdout=subprocess.PIPE, check=True).stdout
        subprocess.run(["tar", "-x", "-C", folder], input=packed, check=True)
        environment = os.environ | {"PYTHONPATH": f"{folder}/workflow/scripts", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", WORK], env=environment, stdout=subprocess.PIPE, text=True, check=True
        )
    return done.stdout.splitlines()


def main() -> None:
    """Print each digest once, with the first commit that had it."""
    log = subprocess.check_output(["git", "log", "--reverse", "--format=%H %cs"], text=True)
    print("digest\tnetwork\tfirst commit\tdate")
    seen = set()
    for commit, date in map(str.split, log.splitlines()):
        for line in digests(commit):
            if line not in seen:
                seen.add(line)
                print(line, commit, date, sep="\t", flush=True)


if __name__ == "__main__":
    main()
