"""Draw tables, figures and page from the records that exist, after a failed run: the Snakefile starts it as a process.

Its arguments come as JSON on standard input, since no job of Snakemake's hands them over.
"""

import json
import sys

from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import Missing
from epochbench.errors import BenchmarkError, in_one_line
from epochbench.report.report import Places, report


def main() -> None:
    """Read the arguments and draw; a mistake that a user can mend is told in the last line."""
    arguments = json.load(sys.stdin)
    failed = [Missing(**run) for run in arguments["failed"]]
    try:
        report(Places(**arguments["places"]), Settings(**arguments["settings"]), arguments["notes"], failed)
    except (BenchmarkError, OSError) as error:
        sys.exit(in_one_line(error))


if __name__ == "__main__":
    main()
