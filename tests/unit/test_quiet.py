"""Disturbed timings: how they are noticed, repeated and left out, from the machine's conditions alone."""

import contextlib
import shutil
from collections import namedtuple
from dataclasses import replace
from types import SimpleNamespace

import pytest
from unit.examples import record, tried

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.disturbed import counting_runs, disturbed_by, usual_calibrations
from epochbench.aggregate.settings import Settings
from epochbench.records import gates, run_gates
from epochbench.timing import calibration_reference as reference
from epochbench.timing import provenance, quiet, stack, stopwatch, tries
from epochbench.timing.cell import Cell
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.machine import host, watch
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import GpuState, GpuWatch, Limit, Peaks, Stack, Try, seal
from epochbench.timing.task import Task
from epochbench.timing.team import Solo

ALONE, ONE = quiet.Shares(0.01, 0.0), Solo()
LIMIT = Limit(1e9, 1e9, 1e9, 1, 1e-9, 1e-9, "memory")


@pytest.mark.parametrize(
    ("taken", "reached", "told"),
    [
        (ALONE, 193e9, []),
        (ALONE, 170e9, []),
        (ALONE, 100e9, ["the matrix product reached 52% of this machine's best"]),
        (quiet.Shares(0.3, 0.0), 193e9, ["others took 30% of the cores"]),
        (quiet.Shares(0.0, 0.1), 193e9, ["the hypervisor took 10% of the cores"]),
        (quiet.Shares(0.0, None), 193e9, []),
    ],
)
def test_a_timing_is_disturbed_by_others_or_by_a_machine_slower_than_it_can_be(taken, reached, told):
    assert quiet.disturbances(taken, reached, 193e9) == told


WATCH = GpuWatch(20, 4.0, 1980, 1980, 1980, 400.0, {}, {}, 0)


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ({}, []),
        ({"processes": 1}, ["1 other process on the card"]),
        ({"held_shares": {"hardware thermal slowdown": 0.5}}, ["hardware thermal slowdown in 50% of the looks"]),
        ({"held_shares": {"power cap": 0.9}}, []),  # its own work brings it about, in every try
    ],
)
def test_a_timing_is_disturbed_by_what_others_do_to_the_card(monkeypatch, seen, told):
    attempts = timed_with(monkeypatch, [193] * 3, replace(WATCH, **seen))
    assert [attempt.noted.disturbed_by for attempt in attempts] == ([told] * 3 if told else [[]])


def test_it_waits_for_a_neighbour_to_leave_the_card(monkeypatch):
    said, neighbours = [], [2, 1, 0]
    monkeypatch.setattr(quiet, "look", lambda: ALONE)
    quiet.wait_for_quiet(60.0, said.append, lambda: GpuState(1980, 2619, 40, 700.0, [], neighbours.pop(0)))
    assert neighbours == []
    assert said[0] == "waiting for quiet, at most 60 s: 2 other processes on the card"


class Several(Solo):
    """One of a team, whose others say the same, but for what `others` says of their cards."""

    def __init__(self, size, *others):
        self.size, self.others = size, others

    def gather(self, value):
        same = [value] * self.size
        return [value, *self.others] if isinstance(value, GpuWatch) else same


def test_every_card_of_a_team_is_looked_at(monkeypatch):
    crowded = replace(WATCH, processes=3, sm_clock_median_mhz=1200, held_shares={"power cap": 0.5})
    state = GpuState(1980, 2619, 40, 700.0, [], 1)
    timed = SimpleNamespace(gpu_before=None, gpu_after=state, gpu_watch=None)
    monkeypatch.setattr(stopwatch, "_time_epochs", lambda *_: timed)
    monkeypatch.setattr(stopwatch, "replace", lambda _, **changes: SimpleNamespace(**changes))
    device = SimpleNamespace(watched=lambda: contextlib.nullcontext(SimpleNamespace(seen=WATCH)))
    found = stopwatch.time_epochs(None, Several(2, crowded), None, [], device, None)
    assert (found.gpu_watch.processes, found.gpu_watch.sm_clock_median_mhz) == (3, 1200)
    assert (found.gpu_watch.samples, found.gpu_watch.power_median_watts) == (40, 800.0)
    assert found.gpu_watch.held_shares == {"power cap": 0.5}
    assert (found.gpu_before, found.gpu_after.processes) == (None, 1)
    assert watch.together([None, None]) is None


def test_a_team_is_held_against_a_reference_of_one_process(monkeypatch):
    """Four cards at a quarter of their speed reach together what one alone can."""
    four = Several(4)
    assert [bool(one.noted.disturbed_by) for one in timed_with(monkeypatch, [200] * 3, team=four)] == [True] * 3
    assert [bool(one.noted.disturbed_by) for one in timed_with(monkeypatch, [4 * 190], team=four)] == [False]


def test_what_others_take_is_counted_on_the_jobs_own_cores(monkeypatch):
    """On a node shared with others their cores are no disturbance."""
    times = namedtuple("times", "user nice system irq softirq steal")
    cores = [times(5, 0, 1, 0, 0, 0.5), times(900, 0, 90, 0, 0, 70), times(7, 1, 1, 0, 0, 0.25)]
    monkeypatch.setattr(host.psutil, "cpu_times", lambda percpu: cores)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: {0, 2}, raising=False)
    now = host.activity()
    assert (now.busy_cpu_seconds, now.steal_seconds) == (15, 0.75)


@pytest.mark.parametrize(("busy", "share"), [(30, 0.0), (63, 0.5), (64, 1.0)])
def test_under_a_quota_others_take_what_is_left_over_first(monkeypatch, busy, share):
    """A job that may use two cores at a time, of 64 on which others keep some busy, and that does nothing itself."""
    times, looks = namedtuple("times", "user nice system irq softirq steal"), []

    def cpu_times(percpu):
        looks.append(host.time.monotonic())
        seconds = looks[-1] - looks[0]
        return [times(seconds if core < busy else 0, 0, 0, 0, 0, 0) for core in range(64)]

    monkeypatch.setattr(host.psutil, "cpu_times", cpu_times)
    monkeypatch.setattr(host.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.setattr(host, "_cgroup_quota", lambda: 2)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(host, "time", SimpleNamespace(monotonic=lambda: clock.now))
    before = host.activity()
    clock.now = 5.0
    spent = host.activity() - before
    assert quiet.taken(replace(spent, own_cpu_seconds=0.0)).others == pytest.approx(share)
    crowded = replace(record(), conditions=replace(record().conditions, other_cpu_seconds=1e6))
    assert "Others took 100.0% of the CPU" in gates.quiet(crowded)[1]


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


def timed_with(monkeypatch, calibrations, watch=None, team=ONE, **protocol):
    """Return the tries of a run whose calibrations, one a try, reach so many GFLOP/s."""
    activity = host.Activity(0, 0, 1.0, 1.0, 0.0, at_seconds=1.0)
    timed = SimpleNamespace(epoch_seconds=[1.0], activity=activity, gpu_watch=watch, peak_memory_bytes=1)
    reached = iter(calibrations)
    monkeypatch.setattr(tries, "calibrated", lambda *_: (Peaks({"fp32": next(reached) * 1e9}, 1e9, 1e6), LIMIT))
    monkeypatch.setattr(tries.quiet, "wait_for_quiet", lambda *_: 0.0)
    task = Task(Cell("a", "cpu"), 1, Protocol(**({"tries": 3} | protocol)), "", 1, reference_flop_per_second=193e9)
    return tries.time_in_quiet(task, team, tries.Timer(lambda: timed, 1, lambda: None, lambda: None), None)


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


def test_the_reference_is_the_best_of_its_looks_and_waits_for_quiet(tmp_path, monkeypatch):
    """Others work during the first try, so that there is another; nothing raises what a look reaches."""
    waited, reached = [], [100e9, 190e9, 193e9, 150e9]
    taken = [quiet.Shares(0.4, 0.0), ALONE]
    monkeypatch.setattr(reference, "LOOKS", 2)
    monkeypatch.setattr(reference, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(reference, "matrix_flop_per_second", lambda *_: reached.pop(0))
    monkeypatch.setattr(quiet, "taken", lambda _: taken.pop(0))
    monkeypatch.setattr(quiet, "wait_for_quiet", lambda limit, *_: waited.append(limit) or 4.0)
    assert reference.write_reference("cpu", 1, tmp_path / "reference.json", 3, 10.0) == 193e9
    assert (waited, reached) == ([10.0, 6.0], [])


def test_another_code_that_calibrates_is_another_calibration(tmp_path, monkeypatch):
    """A network's own file decides none."""
    monkeypatch.setattr(provenance, "FOLDER", shutil.copytree(provenance.FOLDER, tmp_path / "package" / "timing"))
    for name in provenance.BESIDE:
        (tmp_path / "package" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "package" / name).touch()
    before = provenance.calibration_digest.__wrapped__()
    (tmp_path / "package" / "networks" / "lenet.py").write_text("# another\n")
    assert provenance.calibration_digest.__wrapped__() == before
    with (tmp_path / "package" / "timing" / "calibrate.py").open("a") as file:
        file.write("# changed\n")
    assert provenance.calibration_digest.__wrapped__() != before


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


def test_the_best_of_a_machine_speaks_where_most_of_its_runs_were_slow():
    runs = [tried(1, 4.0, reached=100e9), tried(2, 4.1, reached=100e9), tried(3, 2.0)]
    usual = usual_calibrations(runs)
    assert [bool(disturbed_by(run, usual)) for run in runs] == [True, True, False]


def test_calibrations_of_teams_and_of_other_hardware_are_not_compared():
    def on(card, flops, processes=1):
        made = record(f"gpu-{processes}", processes=processes)
        gpu = replace(made.machine.gpu, name=card)
        tries_ = [Try([1.0], 0.0, 0.0, 0.0, flops, [])]
        return seal(replace(made, tries=tries_, machine=replace(made.machine, gpu=gpu)))

    runs = [on("NVIDIA H200", 50e12), on("NVIDIA H200", 200e12, processes=4), on("NVIDIA L4", 10e12)]
    usual = usual_calibrations(runs)
    assert [disturbed_by(run, usual) for run in runs] == [[], [], []]


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


def test_older_records_that_name_no_stack_are_told_apart_by_their_versions():
    made = record("gpu-a")
    driver = replace(made.machine.gpu, driver="550.1")
    for changes in ({"torch": "2.11"}, {"cuda": "12.8"}, {"python": "3.13"}, {"gpu": driver}):
        other = replace(made, machine=replace(made.machine, **changes))
        finding = run_gates.one_stack([made, other])
        assert (finding.severity, finding.passed) == ("hard", False), changes
    assert run_gates.one_stack([made, made]).passed is None


def test_a_variable_that_is_not_named_was_not_set_and_any_other_fact_is_unknown():
    def with_facts(**facts):
        return replace(record(), stack=Stack("a", {"torch": "2.15"} | facts))

    plain, pinned = with_facts(), with_facts(ONEDNN_DEFAULT_FPMATH_MODE="BF16")
    assert run_gates.one_stack([plain, with_facts(**{"cpu capability": "AVX512"})]).passed is True
    assert "ONEDNN_DEFAULT_FPMATH_MODE none and BF16" in run_gates.one_stack([plain, pinned]).sentence


# fmt: off
VARIABLES = [
    "ATEN_CPU_CAPABILITY", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE",
    "ONEDNN_MAX_CPU_ISA", "OMP_WAIT_POLICY", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "KMP_BLOCKTIME", "KMP_AFFINITY", "OMP_PROC_BIND",
    "MALLOC_CONF", "LD_PRELOAD", "MKL_ENABLE_INSTRUCTIONS",
    "CUDA_DEVICE_MAX_CONNECTIONS", "CUDA_LAUNCH_BLOCKING", "CUBLAS_WORKSPACE_CONFIG",
    "NVIDIA_TF32_OVERRIDE", "NCCL_P2P_DISABLE", "TORCH_COMPILE_DISABLE",
    "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF",
]
# fmt: on


@pytest.mark.parametrize("name", VARIABLES)
def test_a_variable_that_decides_a_timing_is_part_of_the_stack(monkeypatch, name):
    monkeypatch.delenv(name, raising=False)
    without = stack.describe_stack(CpuDevice(), Protocol()), stack.installed_stack()
    monkeypatch.setenv(name, "")
    assert (stack.describe_stack(CpuDevice(), Protocol()), stack.installed_stack()) == without
    monkeypatch.setenv(name, "1")
    described = stack.describe_stack(CpuDevice(), Protocol())
    assert described.facts == without[0].facts | {name: "1"}
    assert described.digest != without[0].digest
    assert stack.installed_stack() != without[1]


def test_the_processors_capability_is_part_of_the_stack():
    assert "cpu capability" in stack.describe_stack(CpuDevice(), Protocol()).facts


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
