"""What tests share by name: where the repository is, and how its own Snakemake is called."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
# Of this environment, whether or not it is on the PATH.
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
