from dataclasses import replace

import pytest
from unit.examples import runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.plain import short_name
from epochbench.aggregate.settings import Settings
from epochbench.timing.record import seal

SLOW = runs("cpu-reference", (2.0, 2.1, 2.2))
TUNED = runs("cpu-tuned", (1.0, 1.05, 1.1), allocator="tuned")
GPU = runs("gpu-best", (0.02, 0.021, 0.022), precision="bf16")


def summary(records, **settings):
    return aggregate(records, Settings(**settings), [])


def plain(records, **settings):
    return summary(records, **settings).headline.plain


@pytest.mark.parametrize(
    ("hardware", "device", "said"),
    [
        ("NVIDIA H100 80GB HBM3", "gpu", "one NVIDIA H100"),
        ("4 x NVIDIA H100 80GB HBM3", "gpu", "4 NVIDIA H100 GPUs"),
        ("NVIDIA A100-SXM4-80GB", "gpu", "one NVIDIA A100"),
        ("NVIDIA GeForce RTX 4090", "gpu", "one NVIDIA GeForce RTX 4090"),
        ("Intel(R) Xeon(R) Processor, 16 cores", "cpu", "16 Intel Xeon cores"),
        ("Intel(R) Core(TM) i7-7500U CPU @ 2.70GHz, 2 cores", "cpu", "2 Intel Core i7-7500U cores"),
        ("AMD EPYC 7763 64-Core Processor, 64 cores", "cpu", "64 AMD EPYC 7763 cores"),
        ("AMD Ryzen 7 5800H with Radeon Graphics, 1 cores", "cpu", "1 AMD Ryzen 7 5800H core"),
        ("CPU @ 3 GHz, 2 cores", "cpu", "2 CPU cores"),
    ],
)
def test_hardware_has_the_name_that_people_say(hardware, device, said):
    (row,) = summary(SLOW if device == "cpu" else GPU).cells
    assert short_name(replace(row, hardware=hardware)) == said


def test_a_gpu_is_compared_with_what_people_use_and_with_the_same_processor_at_its_best():
    made = summary(SLOW + TUNED + GPU)
    assert made.headline.plain == (
        "One NVIDIA H200 trains this network 100 times as fast as 8 A cores as people use them, "
        "and 50 times as fast as the same processor at its best."
    )
    assert made.answer[0] == made.headline.plain
    assert made.answer[1].startswith(made.headline.sentence)
    assert plain(SLOW + GPU).endswith("as 8 A cores as people use them.")


def test_several_gpus_are_several():
    four = runs("gpu-four", (0.01, 0.01, 0.01), processes=4)
    assert plain(SLOW + four).startswith("4 NVIDIA H200 GPUs train this network 210 times as fast as ")


def test_a_baseline_that_is_tuned_is_not_called_what_people_use():
    assert "as fast as 8 A cores in cell cpu-tuned" in plain(TUNED + GPU, baseline="cpu-tuned")
    assert plain(SLOW + TUNED, baseline="cpu-tuned").endswith("times as fast as in cell cpu-tuned.")


def test_a_cell_that_the_config_picks_is_not_called_the_best():
    assert plain(SLOW + TUNED, best="cpu-tuned").startswith("In cell cpu-tuned, 8 A cores train this network 2.0 times")


def test_other_code_on_one_side_is_said_in_the_same_sentence():
    theirs = [
        seal(replace(run, cell=replace(run.cell, cell="gpu-best@node7"), code=replace(run.code, digest="beef")))
        for run in GPU
    ]
    assert plain(SLOW + theirs, best="gpu-best@node7").endswith("as people use them, but with other timing code.")


def test_of_a_single_run_the_line_below_says_that_it_has_no_interval():
    made = summary(SLOW[:1] + GPU[:1])
    assert made.headline.plain.startswith("One NVIDIA H200 trains this network 100 times")
    assert "one run, no interval" in made.answer[1]


def test_a_gpu_as_the_baseline_is_not_taken_for_the_processor():
    first = runs("gpu-reference", (0.1, 0.1, 0.1))
    said = plain(SLOW + TUNED + first + GPU, baseline="gpu-reference")
    assert said.startswith("At its best, one NVIDIA H200 trains this network 4.8 times as fast as with the code")
    assert "processor" not in said
