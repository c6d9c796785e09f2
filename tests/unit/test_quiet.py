"""Disturbed timings: how they are noticed, repeated and left out, from the machine's conditions alone."""

from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest
from unit.examples import record, tried

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.disturbed import counting_runs, disturbed_by, usual_calibrations
from epochbench.aggregate.settings import Settings
from epochbench.records import run_gates
from epochbench.timing import calibration_reference as reference
from epochbench.timing import provenance, quiet, tries
from epochbench.timing.cell import Cell
from epochbench.timing.machine import host
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Limit, Peaks, Stack, seal
from epochbench.timing.task import Task
from epochbench.timing.team import Solo

ALONE = quiet.Shares(0.01, 0.0)
LIMIT = Limit(1e9, 1e9, 1e9, 1, 1e-9, 1e-9, "memory")


@pytest.mark.parametrize(
    ("taken", "reached", "told"),
    [
        (ALONE, 193e9, []),
        (ALONE, 170e9, []),
        (ALONE, 100e9, ["the matrix product reached 52% of what this machine usually does"]),
        (quiet.Shares(0.3, 0.0), 193e9, ["others took 30% of the cores"]),
        (quiet.Shares(0.0, 0.1), 193e9, ["the hypervisor took 10% of the cores"]),
        (quiet.Shares(0.0, None), 193e9, []),
    ],
)
def test_a_timing_is_disturbed_by_others_or_by_a_machine_slower_than_it_can_be(taken, reached, told):
    assert quiet.disturbances(taken, reached, 193e9) == told


def test_what_others_take_is_counted_on_the_jobs_own_cores(monkeypatch):
    """On a node shared with others their cores are no disturbance."""
    times = namedtuple("times", "user nice system irq softirq steal")
    cores = [times(5, 0, 1, 0, 0, 0.5), times(900, 0, 90, 0, 0, 70), times(7, 1, 1, 0, 0, 0.25)]
    monkeypatch.setattr(host.psutil, "cpu_times", lambda percpu: cores)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: {0, 2})
    now = host.activity()
    assert (now.busy_cpu_seconds, now.steal_seconds) == (15, 0.75)


def test_it_waits_for_quiet_no_longer_than_it_may_and_says_so_once(monkeypatch):
    clock, said = SimpleNamespace(now=0.0), []

    def busy():
        clock.now += 0.4
        return quiet.Shares(0.5, 0.0)

    monkeypatch.setattr(quiet, "look", busy)
    monkeypatch.setattr(quiet.time, "monotonic", lambda: clock.now)
    assert quiet.wait_for_quiet(3.0, said.append) == pytest.approx(3.2)
    assert said == ["waiting for quiet, at most 3 s: others took 50% of the cores"]


def test_it_goes_on_at_once_where_nobody_else_works(monkeypatch):
    monkeypatch.setattr(quiet, "look", lambda: ALONE)
    assert quiet.wait_for_quiet(30.0, pytest.fail) < 1


def timed_with(monkeypatch, calibrations, **protocol):
    """Return the tries of a run whose calibrations, one a try, reach so many GFLOP/s."""
    activity = host.Activity(0, 0, 1.0, 1.0, 0.0)
    timed = SimpleNamespace(epoch_seconds=[1.0], outer_seconds=1.0, activity=activity)
    reached = iter(calibrations)
    monkeypatch.setattr(tries.stopwatch, "time_epochs", lambda *_: timed)
    monkeypatch.setattr(tries, "calibrated", lambda *_: (Peaks({"fp32": next(reached) * 1e9}, 1e9, 1e6), LIMIT))
    monkeypatch.setattr(tries.quiet, "wait_for_quiet", lambda *_: 0.0)
    task = Task(Cell("a", "cpu"), 1, Protocol(**({"tries": 3} | protocol)), "", 1, reference_flop_per_second=193e9)
    device = SimpleNamespace(peak_memory_bytes=lambda: 1)
    return tries.time_in_quiet(task, Solo(), None, None, [], device, None)


def test_a_run_at_half_speed_is_timed_again_until_it_is_not(monkeypatch):
    """Its own calibration read 100 instead of 193 GFLOP/s, and nothing else told."""
    attempts = timed_with(monkeypatch, [100, 101, 190, 5])
    assert [bool(attempt.noted.disturbed_by) for attempt in attempts] == [True, True, False]


def test_tries_are_bounded(monkeypatch):
    assert len(timed_with(monkeypatch, [100] * 9, tries=2)) == 2


def test_the_reference_is_of_this_machine_and_as_many_threads(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "LOOKS", 1)
    monkeypatch.setattr(reference, "PAUSE_SECONDS", 0.0)
    best = reference.write_reference("cpu", 1, tmp_path / "reference.json")
    assert reference.read_reference(tmp_path / "reference.json", 1) == best > 0
    assert reference.read_reference(tmp_path / "reference.json", 2) is None
    monkeypatch.setattr(reference.provenance, "fingerprint", lambda: "another")
    assert reference.read_reference(tmp_path / "reference.json", 1) is None
    assert reference.read_reference(tmp_path / "missing.json", 1) is None


def test_two_machines_of_one_name_and_processor_are_told_apart(monkeypatch, tmp_path):
    words = []
    for identity in ("a" * 32, "b" * 32):
        (tmp_path / "machine-id").write_text(identity)
        monkeypatch.setattr(host, "MACHINE_IDS", (tmp_path / "missing", tmp_path / "machine-id"))
        words.append(provenance.fingerprint())
    assert words[0] != words[1]


def test_a_disturbed_run_does_not_make_the_interval_and_is_shown():
    others = "others took 40% of the cores"
    runs = [tried(1, 2.0), tried(2, 5.0, others), tried(3, 2.1)]
    row = aggregate(runs, Settings(), []).cells[0]
    assert row.runs == 2
    assert row.epoch_seconds.estimate == pytest.approx((2.0 * 2.1) ** 0.5)
    assert [(one.run, one.counts, one.disturbed_by) for one in row.tries] == [
        (1, True, []), (2, False, [others]), (3, True, []),
    ]  # fmt: skip


def test_where_every_run_was_disturbed_all_count_and_a_note_says_so():
    summary = aggregate([tried(run, 2.0, "others took 40% of the cores") for run in (1, 2, 3)], Settings(), [])
    assert summary.cells[0].runs == 3
    assert "Disturbed by other work: runs 3 of cpu-reference; the page says how." in summary.notes


def test_a_calibration_is_judged_by_what_the_machine_reached_in_other_runs():
    """The first run seemed undisturbed, since nothing better was known then."""
    runs = [tried(1, 4.0, reached=100e9), tried(2, 2.0), tried(3, 2.1)]
    usual = usual_calibrations(runs)
    assert disturbed_by(runs[0], usual) == ["the matrix product reached 52% of what this machine reached in other runs"]
    assert [run.run for run in counting_runs(runs, usual)] == [2, 3]


def test_whether_a_run_counts_does_not_depend_on_its_times():
    runs = [tried(1, 2.0), tried(2, 200.0), tried(3, 2.1)]
    assert counting_runs(runs, usual_calibrations(runs)) == runs


@pytest.mark.parametrize(("medians", "disturbed", "passed"), [
    ((2.0, 2.1, 2.05), 0, True), ((2.0, 3.0, 2.5), 0, False), ((2.0, 3.0, 2.5), 1, None), ((2.0,), 0, None),
])  # fmt: skip
def test_a_spread_that_no_condition_explains_is_told(medians, disturbed, passed):
    finding = run_gates.repeatable([[value] for value in medians], disturbed)
    assert (finding.severity, finding.passed) == ("soft", passed)


def test_runs_of_two_torches_are_never_one_cell():
    old, new = (Stack(version, {"Python": "3.11", "torch": version}) for version in ("2.11.0", "2.15.0"))
    finding = run_gates.one_stack([replace(record(), stack=old), replace(record(), stack=new)])
    assert (finding.severity, finding.passed) == ("hard", False)
    assert "torch 2.11.0 and 2.15.0" in finding.sentence
    assert run_gates.one_stack([replace(record(), stack=new)] * 2).passed is True
    assert run_gates.one_stack([record(), replace(record(), stack=new)]).passed is None


def test_disturbed_runs_that_count_are_flagged_and_the_gate_says_what_it_judged():
    """Both were disturbed, one as only hindsight tells: the other cell's runs reached twice as much."""
    slow = [tried(1, 4.0, reached=90e9), tried(2, 3.0, "others took 40% of the cores")]
    other = [
        seal(replace(run, cell=replace(run.cell, cell="cpu-b")))
        for run in (tried(1, 1.0), tried(2, 1.0), tried(3, 1.0))
    ]
    made = aggregate(slow + other, Settings(), [])
    flags, gates = made.cells[0].flags, {gate.gate: gate.sentence for gate in made.cells[0].gates}
    assert "2 of 2 runs disturbed" in flags
    assert gates["repeatable"] == "Not judged: 2 of the 2 runs that count were disturbed."
    left = aggregate([*slow, tried(3, 2.0), tried(4, 2.1)], Settings(), []).cells[0]
    assert not [flag for flag in left.flags if "disturbed" in flag]
    assert "of the 2 runs that count spread by" in next(
        gate.sentence for gate in left.gates if gate.gate == "repeatable"
    )
