"""Killed at any moment, in any way: nothing measured is lost, nothing false is left, and the next run finishes."""

import contextlib
import copy
import hashlib
import os
import random
import time

import pytest
from faults.ground import CONFIG, SHEET, STAGES, Site, strike
from unit.server import serving

pytestmark = [pytest.mark.slow]
# So many in CI. The claim of no lost record is about fifty: EPOCHBENCH_KILLS=50, which takes every way at every stage.
KILLS = int(os.environ.get("EPOCHBENCH_KILLS", "3"))
WAYS = [("KILL", "all"), ("INT", "all"), ("TERM", "snakemake"), ("KILL", "snakemake"), ("KILL", "job")]
# Each stage in one way, so that every way comes up.
IN_TURN = [(WAYS[number % len(WAYS)], stage) for number, stage in enumerate(STAGES)]
# From the end of the clock on, little can be lost that an earlier stage could not lose as well.
LATE_STAGES = ("evaluation", "record", "aggregate", "report")
# One of each kind: what it has written so far, and whether it holds the machine, decides what a kill can leave behind.
# Warm-up, timing and evaluation are one process that has written nothing; a summary is written as a page is.
KINDS_OF_STAGES = ("acquire", "shard", "timed", "record", "report")
STAGES_IN_EVERY_WAY = tuple(STAGES) if KILLS > 3 else KINDS_OF_STAGES
# Removed before a stage, which would not be come by again where an earlier job was let to finish.
RECORD = "train/cpu/cpu-tuned/run-1.json"
REMOVED = {"acquire": ("acquire/dataset.tar.gz", "acquire/manifest.json")}
REMOVED |= {"shard": ("shard/manifest.json", RECORD, "train/cpu/cpu-reference/run-1.json")}
REMOVED |= dict.fromkeys(("warm-up", "timed", "evaluation", "record"), (RECORD,))
REMOVED |= {"aggregate": ("aggregate/summary.json",), "report": ("report/index.html",)}


def cases():
    """Every stage in one way, and then each kind of stage in all the others."""
    yield from chain("each way in turn", [*IN_TURN, (None, "nowhere")], LATE_STAGES)
    others = [(way, stage) for stage in STAGES_IN_EVERY_WAY for way in WAYS if (way, stage) not in IN_TURN]
    for name, is_meant in (("all", lambda whom: whom == "all"), ("one process", lambda whom: whom != "all")):
        meant = [(way, stage) for way, stage in others if is_meant(way[1])]
        yield from chain(name, [*meant, (None, "nowhere")], (*STAGES_IN_EVERY_WAY, "nowhere"))


def chain(name, steps, further):
    """Cases of one copy, which goes from one to the next; the `further` stages' only where the deep tests run."""
    for way, stage in steps:
        marks = [pytest.mark.xdist_group(f"killed: {name}")] + [pytest.mark.deep] * (stage in further)
        yield pytest.param(name, way, stage, marks=marks, id=f"{name}: {' '.join(way or ())}-{stage}")


@pytest.fixture(scope="module")
def copies(tmp_path_factory, repository_copy, archive):
    """A function that returns a chain's copy, made once; its archive comes from a server."""
    made, content = {}, archive.read_bytes()
    with contextlib.ExitStack() as servers:

        def copy_of(chain):
            if chain not in made:
                folder = tmp_path_factory.mktemp("struck")
                made[chain] = Site(repository_copy(folder / "clone"), folder / "lock").can_be_held()
                made[chain].server = servers.enter_context(serving(content))
                config = copy.deepcopy(CONFIG)
                digest = hashlib.sha256(content).hexdigest()
                config["dataset"] = {"archive": made[chain].server.url(), "sha256": digest}
                config["timing"]["runs"] = 1
                made[chain].write(SHEET, config)
            return made[chain]

        yield copy_of


def stalled_download(site):
    """Start Snakemake and return once a part of the archive has come and the rest does not."""
    site.server.behaviour = "stalls once"
    site.server.requests.clear()
    process = site.start()
    process.wait_until(lambda: list(site.folder.glob("results/acquire/*")) and site.server.requests)
    return process


@pytest.mark.fault("killed", "survived")
@pytest.mark.parametrize(("chain", "way", "stage"), list(cases()))
def test_killed_at_a_stage_the_next_run_goes_on_from_there(copies, chain, way, stage):
    struck = copies(chain)
    for path in REMOVED.get(stage, ()):
        struck.folder.joinpath("results", path).unlink(missing_ok=True)
    before = struck.finished()
    if stage == "nowhere":
        status, said = struck.run()
        assert status == 0, said
        assert len(struck.finished()) == 2
    else:
        process = stalled_download(struck) if stage == "acquire" else struck.start_and_hold_at(stage)
        strike(process, *way, lambda: struck.go_on(stage))
        struck.unlock()
    after = struck.finished()
    assert all(after.get(path) == content for path, content in before.items())


@pytest.mark.deep
@pytest.mark.fault("killed", "survived")
def test_random_kills_lose_no_record_and_leave_no_orphan(clone, tmp_path):
    site, chance, measured = Site(clone, tmp_path / "lock"), random.Random(2021), {}
    config = copy.deepcopy(CONFIG)
    config["timing"]["runs"] = 4 if KILLS > 3 else 2
    site.write(SHEET, config)
    for _ in range(KILLS):
        process = site.start()
        time.sleep(chance.uniform(0.5, 9.0))
        if process.poll() is None:
            strike(process, chance.choice(["KILL", "TERM", "INT"]), chance.choice(["all", "snakemake", "job"]))
        now = site.finished()
        assert [path for path in measured if now.get(path) != measured[path]] == []
        measured = now
        site.unlock()
    status, said = site.run()
    assert status == 0, said
    assert len(site.finished()) == 2 * config["timing"]["runs"]
    assert all(site.finished()[path] == content for path, content in measured.items())
