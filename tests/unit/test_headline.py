from dataclasses import replace

import pytest
from unit.examples import runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.timing.record import seal


def summary(records, **settings):
    return aggregate(records, Settings(**settings), [])


CPU = (
    runs("cpu-one-thread", (8.0, 8.1, 8.0), threads=1)
    + runs("cpu-reference", (4.0, 4.0, 4.1))
    + runs("cpu-best", (2.0, 2.0, 2.0), allocator="tuned")
)
GPU = runs("gpu-reference", (0.2, 0.2, 0.2)) + runs("gpu-best", (0.1, 0.1, 0.1), precision="tf32")


def test_the_ladder_names_each_change_and_multiplies_up_to_the_whole_ratio():
    rungs = summary(CPU + GPU).ladder
    assert [rung.changed for rung in rungs] == [
        None, "threads: 1 to all", "allocator: system to tuned", "CPU to GPU", "precision: fp32 to tf32",
    ]  # fmt: skip
    product = 1.0
    for rung in rungs[1:]:
        product *= rung.factor.estimate
    assert product == pytest.approx(rungs[0].seconds / rungs[-1].seconds)


def test_a_ladder_ends_where_two_settings_change_at_once():
    more = runs("cpu-other", (1.0, 1.0, 1.0), memory_format="channels_last", layers="pool_first")
    assert [rung.cell for rung in summary(CPU + more).ladder] == ["cpu-one-thread", "cpu-reference", "cpu-best"]


def test_one_cell_is_no_ladder():
    assert summary(runs()).ladder == []


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


def test_machines_that_differ_are_told_apart_by_fact():
    differing = summary(CPU + GPU).differences
    assert {difference.fact for difference in differing} == {"gpu"}
    assert summary(CPU).differences == []
