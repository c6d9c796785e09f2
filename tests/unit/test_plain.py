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
        (", 8 cores", "cpu", "8 CPU cores"),
        ("", "gpu", "one GPU"),
        ("2 x GPU", "gpu", "2 GPUs"),
        ("2 x NVIDIA GeForce RTX 3080 Laptop GPU", "gpu", "2 NVIDIA GeForce RTX 3080 Laptop GPUs"),
        ("2 x Intel(R) Data Center GPU Max 1550", "gpu", "2 Intel Data Center GPU Max 1550"),
        ("Apple M2", "gpu", "one Apple M2"),
        ("Apple M2, 8 cores", "cpu", "8 Apple M2 cores"),
        ("AMD Ryzen Threadripper PRO 5995WX 64-Cores, 64 cores", "cpu", "64 AMD Ryzen Threadripper PRO 5995WX cores"),
        ("12th Gen Intel(R) Core(TM) i7-12700K, 20 cores", "cpu", "20 Intel Core i7-12700K cores"),
        ("AMD Ryzen 7 5800U w/ Radeon Graphics, 16 cores", "cpu", "16 AMD Ryzen 7 5800U cores"),
        ("AMD Ryzen 5 2500U with Radeon Vega Mobile Gfx, 8 cores", "cpu", "8 AMD Ryzen 5 2500U cores"),
        ("Intel(R) Xeon(R) CPU @ 2.20GHz, 2 cores", "cpu", "2 Intel Xeon cores"),
        ("x" * 400, "gpu", f"one {'x' * 39}\N{HORIZONTAL ELLIPSIS}"),
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


def test_cores_that_were_not_used_are_not_counted():
    one = runs("cpu-one", (8.0, 8.1, 8.2), threads=1)
    assert plain(one + TUNED, baseline="cpu-one").startswith(
        "At their best, 8 A cores train this network 7.7 times as fast as one of them in cell cpu-one"
    )
    assert " as fast as one of 8 A cores in cell cpu-one, and 50 times" in plain(one + TUNED + GPU, baseline="cpu-one")
    half = runs("cpu-half", (1.0, 1.0, 1.0), threads="1/2")
    assert plain(SLOW + half).startswith("At their best, 4 of 8 A cores train this network")
    assert " as fast as all 8 with the code that people usually write" in plain(SLOW + half)


def test_the_same_hardware_elsewhere_is_another_machine():
    theirs = [seal(replace(run, cell=replace(run.cell, cell="cpu-tuned@node7"))) for run in TUNED]
    assert plain(SLOW + theirs, best="cpu-tuned@node7").startswith("8 A cores on node7 train this network 2.0 times")
    assert plain(SLOW + theirs, best="cpu-tuned@node7").endswith(" as fast as 8 A cores as people use them.")
    machine = replace(SLOW[0].machine, cpu="B", cores_usable=4)
    another = [seal(replace(run, machine=machine)) for run in TUNED]
    assert plain(SLOW + another + GPU).endswith(" times as fast as 4 B cores at their best.")


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
