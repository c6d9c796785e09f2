import math
from dataclasses import asdict, replace

import pytest
from support import REPOSITORY
from unit.examples import runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.sheets import read_cells
from epochbench.timing.record import Stack, seal


def summary(records, **settings):
    return aggregate(records, Settings(**settings), [])


CPU = (
    runs("cpu-one-thread", (8.0, 8.1, 8.0), threads=1)
    + runs("cpu-reference", (4.0, 4.0, 4.1))
    + runs("cpu-allocator", (3.0, 3.1, 3.0), allocator="tuned")
    + runs("cpu-best", (2.0, 2.0, 2.0), allocator="tuned", memory_format="onednn")
)
GPU = runs("gpu-reference", (0.2, 0.2, 0.2)) + runs("gpu-best", (0.1, 0.1, 0.1), precision="tf32")


CROSSING = "CPU to GPU, and with it memory_format: onednn to contiguous, allocator: tuned to system"


def adds_up(made):
    """The rungs go from the baseline to the best cell, and their factors multiply to the headline's ratio."""
    rungs, leading = made.ladder, made.headline
    assert (rungs[0].cell, rungs[-1].cell) == (leading.baseline, leading.best)
    assert math.prod(rung.factor.estimate for rung in rungs[1:]) == pytest.approx(leading.speedup.estimate, rel=1e-12)
    return [(rung.cell, rung.settings) for rung in rungs]


def test_the_ladder_goes_from_the_baseline_to_the_best_cell_and_multiplies_to_the_headline():
    assert adds_up(summary(CPU + GPU)) == [
        ("cpu-reference", None),
        ("cpu-allocator", "allocator: system to tuned"),
        ("cpu-best", "memory_format: contiguous to onednn"),
        ("gpu-reference", CROSSING),
        ("gpu-best", "precision: fp32 to tf32"),
    ]


def test_without_a_gpu_the_ladder_ends_at_the_best_cpu_cell_wherever_that_stands():
    branch = runs("cpu-branch", (2.5, 2.5, 2.5), allocator="tuned", precision="bf16")
    assert adds_up(summary(CPU + branch))[-1] == ("cpu-best", "memory_format: contiguous to onednn")
    branch = runs("cpu-branch", (1.5, 1.5, 1.5), allocator="tuned", precision="bf16")
    assert adds_up(summary(CPU + branch))[-2:] == [
        ("cpu-allocator", "allocator: system to tuned"), ("cpu-branch", "precision: fp32 to bf16"),
    ]  # fmt: skip


def test_where_the_device_changes_both_sides_compute_in_one_precision():
    branch = runs("cpu-bf16", (1.0, 1.0, 1.0), allocator="tuned", precision="bf16")
    rungs = adds_up(summary(CPU + branch + GPU))
    assert rungs[2:4] == [("cpu-best", "memory_format: contiguous to onednn"), ("gpu-reference", CROSSING)]


def wrong(records):
    """The same runs, changed after they were written."""
    return [replace(run, checksum="0" * 64) for run in records]


def test_a_rung_that_failed_a_hard_gate_is_left_out_and_its_neighbours_are_compared():
    rungs = adds_up(summary(CPU[:6] + wrong(CPU[6:9]) + CPU[9:] + GPU))
    assert rungs[1] == ("cpu-best", "memory_format: contiguous to onednn, allocator: system to tuned")
    rungs = adds_up(summary(CPU + wrong(GPU[:3]) + GPU[3:]))
    assert [cell for cell, _ in rungs[-2:]] == ["cpu-best", "gpu-best"]
    assert "precision: fp32 to tf32" in rungs[-1][1]


def test_cells_that_are_no_chain_give_no_ladder():
    leap = runs("cpu-leap", (1.0, 1.0, 1.0), memory_format="channels_last", layers="pool_first")
    assert summary(CPU + leap).ladder == []
    assert summary(CPU + leap + GPU).ladder == []
    leap = runs("gpu-leap", (0.05, 0.05, 0.05), memory_format="channels_last", execution="cuda_graph")
    assert summary(CPU + GPU + leap).ladder == []


def test_a_step_by_hand_is_one_rung_that_says_so_whatever_comes_with_it():
    before = {"precision": "bf16", "layers": "space_to_depth", "execution": "compiled_graph"}
    by_hand = {"precision": "bf16", "layers": "fused", "memory_format": "blocks"}
    gpu = runs("gpu-compiled", (0.1, 0.1, 0.1), **before)
    gpu += runs("gpu-fused", (0.01, 0.01, 0.01), execution="cuda_graph", **by_hand)
    gpu += runs("gpu-best", (0.009, 0.009, 0.009), execution="epoch_graph", **by_hand)
    made = summary(CPU + gpu)
    assert adds_up(made)[-2:] == [
        ("gpu-fused", "layers: space_to_depth to fused"),
        ("gpu-best", "execution: cuda_graph to epoch_graph"),
    ]
    assert [rung.changed for rung in made.ladder[-2:]] == ["kernels by hand", "epoch in one launch"]


def test_one_cell_is_no_ladder():
    assert summary(runs()).ladder == []


def test_a_single_step_from_device_to_device_is_the_headline_itself():
    assert summary(runs() + GPU[:3]).ladder == []


def test_the_shipped_sheets_cells_are_a_ladder():
    """Whichever of the fast cells turns out the best."""
    sheet = read_cells(REPOSITORY / "config" / "cells.tsv")
    for last in ("cpu-onednn", "cpu-bf16"):
        made = []
        for place, cell in enumerate(sheet):
            seconds = (1.0 if cell.cell == last else 9.0 - place / 10) if cell.device == "cpu" else 0.5 - place / 100
            settings = {name: value for name, value in asdict(cell).items() if name not in ("cell", "device")}
            made += runs(cell.cell, (seconds, seconds, seconds), **settings)
        assert len(adds_up(summary(made))) == 15
        assert adds_up(summary([run for run in made if run.cell.device == "cpu"]))[-1][0] == last


def test_break_even_is_the_extra_start_over_the_gain_of_an_epoch():
    late = [
        seal(replace(run, timing=replace(run.timing, start_seconds=run.timing.start_seconds + 19.0))) for run in GPU
    ]
    pays = summary(CPU + late).break_even
    assert (pays.cpu, pays.gpu) == ("cpu-best", "gpu-best")
    assert pays.epochs == pytest.approx(19.0 / 1.9, rel=0.01)
    assert summary(CPU).break_even is None


def test_the_batch_size_from_which_the_gpu_is_faster():
    cells = []
    for size, cpu, gpu in ((10, 1.0, 2.0), (100, 1.0, 0.5), (1000, 1.0, 0.1)):
        cells += runs(f"cpu-{size}", (cpu, cpu, cpu), batch_size=size)
        cells += runs(f"gpu-{size}", (gpu, gpu, gpu), batch_size=size)
    pays = summary(cells, baseline="cpu-1000").break_even
    assert pays.batch_size == 100
    assert [batch.times_faster for batch in pays.batches] == pytest.approx([0.5, 2.0, 10.0])


def test_an_epoch_costs_its_share_of_an_hour():
    priced = {row.cell: row.cost_per_epoch for row in summary(GPU + CPU, per_hour={"NVIDIA H200": 3.6}).cells}
    assert priced["gpu-best"] == pytest.approx(0.1 / 3600 * 3.6)
    assert priced["cpu-best"] is None
    four = runs("gpu-four", (0.1, 0.1, 0.1), processes=4)
    (row,) = summary(four, per_hour={"NVIDIA H200": 3.6}).cells
    assert (row.hardware, row.cost_per_epoch) == ("4 x NVIDIA H200", pytest.approx(4 * 0.1 / 3600 * 3.6))


def test_machines_that_differ_are_told_apart_by_fact():
    differing = summary(CPU + GPU).differences
    assert {difference.fact for difference in differing} == {"gpu"}
    assert summary(CPU).differences == []


def with_stack(records, **facts):
    facts = {"Python": "3.11", "torch": "2.15", "protocol": "x"} | facts
    return [seal(replace(run, stack=Stack("digest", facts))) for run in records]


def test_a_variable_that_one_side_alone_has_set_is_said():
    fast = runs("cpu-best", (1.0, 1.01, 1.02))
    told = summary(with_stack(runs(), LD_PRELOAD="libjemalloc.so") + with_stack(fast)).headline.sentence
    assert "but with LD_PRELOAD none against libjemalloc.so" in told
    card = with_stack(GPU[:3], driver="580.1")
    assert "but with" not in summary(with_stack(runs()) + card).headline.sentence


def test_a_cell_of_other_software_than_the_baseline_says_so_in_its_row():
    made = summary(
        with_stack(runs())
        + with_stack(runs("cpu-old", (1.5, 1.51, 1.52)), torch="2.11")
        + with_stack(runs("cpu-best", (1.0, 1.01, 1.02)))
    )
    flagged = {row.cell: "other software than the baseline" in row.flags for row in made.cells}
    assert flagged == {"cpu-reference": False, "cpu-old": True, "cpu-best": False}


def test_break_even_by_batch_size_is_of_the_leading_network_whatever_stands_first():
    cells = []
    for size, cpu, gpu in ((10, 5.0, 0.5), (1000, 2.0, 0.1)):
        for model, times in (("resnet18", 1.0), ("lenet", 1.0)):
            extra = 9.0 if model == "resnet18" else 0.0
            for device, seconds in (("cpu", cpu), ("gpu", gpu + extra)):
                name, seconds = f"{device}-{model}-{size}", seconds * times
                cells += runs(name, (seconds,) * 3, model=model, batch_size=size)
    made = summary(cells, baseline="cpu-lenet-1000")
    assert [(batch.cpu, batch.gpu) for batch in made.break_even.batches] == [
        ("cpu-lenet-10", "gpu-lenet-10"), ("cpu-lenet-1000", "gpu-lenet-1000"),
    ]  # fmt: skip
