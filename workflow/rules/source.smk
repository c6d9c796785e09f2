# The source: where this workflow's own files lie, and its package, which everything after this imports.
#
# requires: nothing
# produces: HOME and SCRIPTS (folders), IN_MODULE; the package on the path of this process and of every job

import posixpath
import shutil
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import HostingProviderFile, LocalSourceFile


def home_of(rules):
    """Return the folder above workflow/ and config/, from the folder of this file, wherever that was read from.

    workflow.basedir would be the folder of whichever Snakefile was started.
    """
    if isinstance(rules, LocalSourceFile):
        return Path(rules.get_path_or_uri(secret_free=True)).resolve().parents[1]
    if isinstance(rules, HostingProviderFile):
        return unpacked(rules.hosted_repo.repo, rules)
    # Of git+file, Snakemake 9.27 itself finds no script.
    raise WorkflowError(
        f"{rules}: the package beside the rules cannot be read from there; name the workflow as a path, "
        "github(...) or gitlab(...)."
    )


def unpacked(repository, rules):
    """Return a folder with workflow/, config/ and board/ as they are in a git repository, unpacked once for each commit.

    Not through workflow.source_path: it takes the last newline from a file of a git host, and with it the code digest.
    """
    root = posixpath.dirname(posixpath.dirname(rules.path))
    commit = repository.commit(rules.ref).hexsha
    folder = Path(workflow.sourcecache.cache_path) / "epochbench" / commit / root
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        archive, whole = Path(temporary) / "workflow.zip", Path(temporary) / "whole"
        tree = f"{commit}:{root}"
        repository.git.archive(
            tree, "workflow", "config", "board", format="zip", output=str(archive)
        )
        shutil.unpack_archive(archive, whole)
        try:
            whole.rename(folder)
        except OSError:
            # Another process was faster.
            if not folder.exists():
                raise
    return folder


# Snakemake leaves the handlers of a module out.
IN_MODULE = not workflow.modifier.is_main_snakefile()
if workflow.modifier.path_modifier.replace_prefix("results/") != "results/":
    raise WorkflowError(
        "epochbench writes to results/ below the working directory: leave prefix and replace_prefix "
        "out of the module statement, and choose the folder by workdir: or --directory."
    )
HOME = home_of(workflow.current_basedir)
SCRIPTS = HOME / "workflow" / "scripts"
# Jobs get it too: Snakemake hands on the folders that it finds here.
sys.path.insert(0, str(SCRIPTS))
