"""What tests share: a small synthetic archive, its shards, and a copy of the repository to run Snakemake in."""

import shutil
import subprocess
from pathlib import Path

import pytest

from epochbench.shard import shard_archive
from epochbench.synthetic import Synthetic, write_archive

REPOSITORY = Path(__file__).parents[1]
SMALL = Synthetic(images_per_batch=100, seed=7)


@pytest.fixture(scope="session")
def archive(tmp_path_factory):
    """An archive of 500 training and 100 test images in the official layout."""
    path = tmp_path_factory.mktemp("archive") / "small.tar.gz"
    write_archive(path, SMALL)
    return path


@pytest.fixture(scope="session")
def manifest(archive, tmp_path_factory):
    """The manifest beside the shards of the small archive."""
    folder = tmp_path_factory.mktemp("shards")
    source = {"name": "synthetic (seed 7)", "synthetic": True}
    shard_archive(archive, source, folder, shard_size=150)
    return str(folder / "manifest.json")


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository's own files, with results of its own."""
    target = tmp_path / "clone"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    for name in listed:
        if (REPOSITORY / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, target / name)
    return target
