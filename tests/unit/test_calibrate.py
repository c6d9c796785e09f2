from dataclasses import replace

import pytest
from unit.examples import BASE

from epochbench.timing import calibrate as calibration
from epochbench.timing.calibrate import calibrate, calibrated, limit
from epochbench.timing.cell import Cell
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Peaks
from epochbench.timing.task import Task
from epochbench.timing.team import Solo
from epochbench.timing.work import count_work

CELL = Cell("a", "cpu")
WORK = count_work("lenet", BASE.dataset)
PEAKS = Peaks({"fp32": 1e12, "bf16": 2e12}, 1e11, 1e6)


def test_the_fused_floor_is_all_arithmetic_or_the_images():
    found = limit(CELL, BASE.dataset, WORK, 50_000, PEAKS)
    assert found.flop_per_epoch == pytest.approx(294.6e9, rel=1e-3)
    assert found.fused_floor_seconds == found.flop_per_epoch / 1e12
    slow_memory = replace(PEAKS, memory_bytes_per_second=1e8)
    assert (
        limit(CELL, BASE.dataset, WORK, 50_000, slow_memory).fused_floor_seconds
        == found.compulsory_bytes_per_epoch / 1e8
    )
    assert found.compulsory_bytes_per_epoch == pytest.approx(50_000 * 3072 * 4, rel=0.1)


def test_the_operators_floor_is_no_lower_than_the_fused_and_no_higher_than_both_sums():
    found = limit(CELL, BASE.dataset, WORK, 50_000, PEAKS)
    arithmetic, memory = found.flop_per_epoch / 1e12, found.operator_bytes_per_epoch / 1e11
    assert max(arithmetic, memory) <= found.operator_floor_seconds <= arithmetic + memory
    assert found.operator_floor_seconds >= found.fused_floor_seconds


@pytest.mark.parametrize(
    ("peaks", "cell", "bound"),
    [
        (replace(PEAKS, matrix_flop_per_second={"fp32": 1e9}), CELL, "arithmetic"),
        (replace(PEAKS, memory_bytes_per_second=1e8), CELL, "memory"),
        (replace(PEAKS, launches_per_second=10.0), CELL, "launches"),
        (replace(PEAKS, launches_per_second=100.0), replace(CELL, execution="cuda_graph"), "launches"),
    ],
)
def test_what_bounds_an_epoch_is_what_takes_longest(peaks, cell, bound):
    assert limit(cell, BASE.dataset, WORK, 50_000, peaks).bound_by == bound


def test_a_graph_launches_a_step_at_once():
    slow = replace(PEAKS, launches_per_second=1e3)
    assert limit(CELL, BASE.dataset, WORK, 50_000, slow).bound_by == "launches"
    assert limit(replace(CELL, execution="cuda_graph"), BASE.dataset, WORK, 50_000, slow).bound_by != "launches"


def test_half_precision_moves_half_the_bytes_of_every_value_and_all_of_the_indices():
    whole, half = (limit(replace(CELL, precision=kind), BASE.dataset, WORK, 50_000, PEAKS) for kind in ("fp32", "bf16"))
    values = 50_000 * sum(operator.values for operator in WORK)
    assert whole.operator_bytes_per_epoch - half.operator_bytes_per_epoch == pytest.approx(2 * values)


def test_the_work_is_counted_once_however_often_the_machine_is_calibrated(manifest, monkeypatch):
    asked = []
    monkeypatch.setattr(calibration, "count_work", lambda *_: asked.append("work") or WORK)
    monkeypatch.setattr(calibration, "calibrate", lambda *_: asked.append("peaks") or PEAKS)
    calibrated(Task(CELL, 1, Protocol(), manifest, 1), Solo(), CpuDevice(), 50_000, fastest=1e-6)
    assert asked == ["work", *["peaks"] * calibration.CALIBRATION_TRIES]


def test_calibration_measures_this_machine():
    peaks = calibrate(CpuDevice(), "fp32")
    assert 1e8 < peaks.matrix_flop_per_second["fp32"] < 1e16
    assert 1e7 < peaks.memory_bytes_per_second < 1e14
    assert 1e3 < peaks.launches_per_second < 1e9
