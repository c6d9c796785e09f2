"""From the summary to figures and pages. Nothing here knows torch or Snakemake."""
