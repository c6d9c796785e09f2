"""Which framework is fastest here, by how much, and whether that is certain; and that none is mixed with another."""

import math
import random
import re
from dataclasses import replace

import pytest
from unit.examples import measured, runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.board import find_exports, read_board
from epochbench.aggregate.compare import compare
from epochbench.aggregate.framework_names import versions_of
from epochbench.aggregate.history import read_history
from epochbench.aggregate.labels import label
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.store import read_summary, write_summary
from epochbench.aggregate.summary import Missing
from epochbench.aggregate.tables import epoch_table
from epochbench.records.exchange import write_export
from epochbench.report import cell_tables, framework_tables, ratio_tables, share
from epochbench.report.board import render_board, result_rows, title_of
from epochbench.report.draw import draw_page
from epochbench.report.groups import grouped
from epochbench.sheets import other_frameworks
from epochbench.timing.cell import Cell
from epochbench.timing.record import Stack, seal

DASH = "\N{EN DASH}"
TORCH = runs("cpu-reference", (6.0, 6.1, 6.2)) + runs("cpu-tuned", (2.0, 2.02, 2.01), allocator="tuned")
KERAS = runs("cpu-keras", (3.7, 3.72, 3.75), framework="keras")
KERAS += runs("cpu-keras-tuned", (2.98, 3.0, 2.95), framework="keras", allocator="tuned")
JAX = runs("cpu-jax", (20.0, 21.0, 22.0), framework="jax", execution="compile")
GPU = runs("gpu-reference", (0.1, 0.101, 0.102)) + runs("gpu-bf16", (0.02, 0.0201, 0.0202), precision="bf16")
GPU_JAX = runs("gpu-jax", (0.01, 0.0101, 0.0099), framework="jax", precision="bf16", execution="compile")
PACKAGES = {"torch": {"torch": "2.15"}, "keras": {"keras": "3.12", "tensorflow": "2.21"}, "jax": {"jax": "0.10"}}


def summary(records, failed=(), **settings):
    return aggregate(records, Settings(**settings), [], [], failed)


def part(records, failed=(), **settings):
    return summary(records, failed, **settings).frameworks


def wrong(records):
    """The same runs, changed after they were written."""
    return [replace(run, checksum="0" * 64) for run in records]


def with_stack(records, **facts):
    """The same runs with the versions of their frameworks."""
    common = {"Python": "3.11", "protocol": "x"}
    return [
        seal(replace(run, stack=Stack(run.cell.framework, common | PACKAGES[run.cell.framework] | facts)))
        for run in records
    ]


def test_torch_alone_has_no_standing_and_says_nothing_of_frameworks():
    made = summary(TORCH + GPU)
    assert made.frameworks is None
    assert "PyTorch" not in " ".join(made.answer)
    assert "framework" not in cell_tables.cell_rows(made)[0]
    assert grouped(made.cells).headings == {}


def test_the_fastest_is_named_with_its_ratio_at_one_precision_and_that_it_is_certain():
    (said,) = part(TORCH + KERAS).sentences
    assert said == (
        f"On this processor PyTorch trains this network fastest in fp32: 1.48x (1.46{DASH}1.51) as fast as Keras on "
        "TensorFlow; that is certain."
    )
    assert said in summary(TORCH + KERAS).answer[1]


def test_a_ratio_is_that_of_cells_with_the_same_allocator_where_nothing_else_is_faster():
    similar = runs("cpu-keras-system", (2.94, 3.0, 2.93), framework="keras")
    (standing,) = part(TORCH + KERAS + similar).standings
    alike, at_best = standing.ratios
    assert (alike.precision, alike.fast, alike.slow, alike.differs) == ("fp32", "cpu-tuned", "cpu-keras-tuned", [])
    assert (at_best.precision, at_best.slow) == (None, "cpu-keras-system")
    assert at_best.differs == ["memory kept against memory given back"]


def test_no_framework_is_judged_by_an_allocator_that_does_not_suit_it():
    quicker = runs("cpu-keras-system", (2.2, 2.21, 2.2), framework="keras")
    found = part(TORCH + KERAS + quicker)
    assert [(pair.precision, pair.slow) for pair in found.standings[0].ratios] == [
        ("fp32", "cpu-keras-tuned"), ("fp32", "cpu-keras-system"), (None, "cpu-keras-system"),
    ]  # fmt: skip
    (said,) = found.sentences
    assert "fastest in fp32: 1.10x" in said
    assert said.endswith(
        "as fast as Keras on TensorFlow (but with memory kept against memory given back); that is certain."
    )
    assert found.details == []


def test_what_differs_is_said_where_a_framework_has_no_cell_that_is_alike():
    slower = runs("cpu-jax-half", (30.0, 31.0, 32.0), framework="jax", threads="1/2")
    assert "as fast as JAX (but with memory kept against memory given back)" in part(TORCH + JAX).sentences[0]
    (pair, _) = part(TORCH[:3] + slower).standings[0].ratios
    assert pair.differs == ["all cores against half the cores"]


def test_frameworks_that_cannot_be_told_apart_are_said_so_and_the_others_are_certain():
    close = runs("cpu-keras-tuned", (2.0, 2.1, 2.05), framework="keras", allocator="tuned")
    found = part(TORCH + close + JAX)
    assert found.sentences[0].startswith(
        "On this processor PyTorch and Keras on TensorFlow cannot be told apart in fp32: PyTorch trains 1.02x (0.94"
    )
    assert "which is not certain. PyTorch certainly trains 10x" in found.sentences[0]
    assert [pair.is_certain for pair in found.standings[0].ratios] == [False, True, False, True]


def test_a_tie_is_no_win():
    twin = runs("cpu-jax", (2.0, 2.02, 2.01), framework="jax", allocator="tuned")
    (pair, _) = part(TORCH + twin).standings[0].ratios
    assert pair.speedup.estimate == pytest.approx(1)
    assert not pair.is_certain


def test_a_single_run_is_never_certain():
    (said,) = part(TORCH[:1] + JAX[:1]).sentences
    assert "PyTorch was fastest in fp32: 3.33x (one run, no interval) as fast as JAX" in said
    assert said.endswith("; that is not certain.")


def test_the_winner_may_be_another_than_torch():
    fast = runs("cpu-keras-tuned", (1.0, 1.01, 1.0), framework="keras", allocator="tuned")
    assert (
        part(TORCH + fast)
        .sentences[0]
        .startswith("On this processor Keras on TensorFlow trains this network fastest in fp32: 2.00x")
    )


def test_the_interval_allows_for_each_side_having_been_picked_as_the_fastest_of_several():
    noisy = [run for number in range(6) for run in runs(f"cpu-{number}", (1.9, 2.0, 2.1), allocator="tuned")]
    alone = part(TORCH[:3] + noisy[:3] + KERAS).standings[0].ratios[0].speedup
    picked = part(TORCH[:3] + noisy + KERAS).standings[0].ratios[0].speedup
    assert picked.estimate == pytest.approx(alone.estimate)
    assert picked.low < alone.low


def test_of_equal_frameworks_few_are_called_certainly_faster():
    """By luck alone: 8 % of such sheets have one where each ratio has an interval for itself, 3 % as it is."""
    chance, names, certain, sheets = random.Random(2), ("torch", "jax", "keras"), 0, 150
    for _ in range(sheets):
        records = [
            run
            for name in names
            for run in runs(f"cpu-{name}", [math.exp(chance.gauss(0, 0.02)) for _ in range(3)], framework=name)
        ]
        pairs = part(records, baseline="cpu-torch").standings[0].ratios
        certain += any(pair.is_certain for pair in pairs if pair.precision)
    assert certain / sheets <= 0.05


def test_further_runs_of_the_leading_cell_decide_nothing_unless_they_surely_turn_it():
    """The first runs pick the fastest; further ones are made of it alone, and would let luck decide."""
    first = {"first_runs": 3}
    lucky = runs("cpu-tuned", (1.0, 1.01, 1.0, 2.0, 2.0, 2.0, 2.0), allocator="tuned", **first)
    other = runs("cpu-keras-tuned", (1.2, 1.21, 1.2), framework="keras", allocator="tuned", **first)
    (pair, _) = part(runs(**first) + lucky + other).standings[0].ratios
    assert (pair.framework, pair.is_certain) == ("keras", True)
    slight = runs("cpu-tuned", (1.0, 1.01, 1.0, 1.25, 1.25), allocator="tuned", **first)
    other = runs("cpu-keras-tuned", (1.05, 1.15, 1.05), framework="keras", allocator="tuned", **first)
    (pair, _) = part(runs(**first) + slight + other).standings[0].ratios
    assert (pair.framework, pair.is_certain) == ("torch", False)


def test_each_at_its_best_is_said_beside_with_both_precisions():
    half = runs("cpu-bf16", (1.0, 1.01, 1.0), allocator="tuned", precision="bf16")
    found = part(TORCH + half + KERAS)
    assert "fastest in fp32: 1.48x" in found.sentences[0]
    (said,) = found.details
    assert said.startswith("Each at its best on this processor, PyTorch in bf16 trains this network fastest: 2.97x")
    assert said.endswith("as fast as Keras on TensorFlow in fp32; that is certain.")


def test_fp32_comes_first_whatever_is_faster_and_the_other_precisions_stand_beside():
    slower = runs("gpu-jax-fp32", (0.15, 0.151, 0.15), framework="jax", execution="compile")
    (standing,) = part(GPU + GPU_JAX + slower, baseline="gpu-reference").standings
    assert [(pair.precision, pair.fast) for pair in standing.ratios] == [
        ("fp32", "gpu-reference"), ("bf16", "gpu-jax"), (None, "gpu-jax"),
    ]  # fmt: skip
    assert (
        part(GPU + GPU_JAX + slower, baseline="gpu-reference")
        .sentences[0]
        .startswith("On this GPU PyTorch trains this network fastest in fp32: 1.49x")
    )


def test_what_the_processor_does_for_a_gpu_makes_no_pair_unlike():
    one_core = runs("gpu-jax", (0.05, 0.0501, 0.05), framework="jax", threads=1)
    assert part(GPU + one_core, baseline="gpu-reference").standings[0].ratios[0].differs == []


def test_without_a_precision_in_common_each_is_at_its_best():
    half = runs("cpu-jax-bf16", (1.0, 1.01, 1.0), framework="jax", precision="bf16", allocator="tuned")
    (said,) = part(TORCH + half).sentences
    assert said.startswith("Each at its best on this processor, JAX in bf16 trains this network fastest: 2.00x")


def test_a_framework_whose_cells_all_failed_a_hard_gate_is_named_and_in_no_ratio():
    found = part(TORCH + wrong(KERAS) + JAX)
    assert {pair.other for pair in found.standings[0].ratios} == {"jax"}
    assert found.sentences[-1] == (
        "Keras on TensorFlow is not compared on this processor: a hard gate failed (cpu-keras and cpu-keras-tuned)."
    )


def test_a_framework_of_the_sheet_of_which_nothing_came_is_named_with_the_reason():
    sheet = {"cpu": {"cpu-jax": "jax", "cpu-keras": "keras"}, "gpu": {"gpu-jax": "jax"}}
    found = part(TORCH, [Missing("cpu-keras", 1, "no keras")], frameworks=sheet)
    assert found.standings == []
    assert found.sentences == [
        "JAX is not compared on this processor: it was not timed (cpu-jax).",
        "Keras on TensorFlow is not compared on this processor: its runs failed (cpu-keras).",
    ]


def test_a_framework_that_did_other_work_is_named():
    other = runs("cpu-jax", (0.1, 0.1, 0.1), framework="jax", batch_size=100)
    (said,) = part(TORCH + other).sentences
    assert said == (
        "JAX is not compared on this processor: other data, another network or another batch size (cpu-jax)."
    )


def test_cells_of_other_machines_are_in_no_comparison_of_frameworks():
    theirs = [seal(replace(run, cell=replace(run.cell, cell="cpu-jax@node7"))) for run in JAX]
    assert part(TORCH + theirs) is None


def test_several_kinds_of_one_device_are_compared_each_with_itself_and_named():
    four = runs("gpu-four", (0.03, 0.0301, 0.03), processes=4)
    four += runs("gpu-four-jax", (0.02, 0.0201, 0.02), framework="jax", processes=4)
    one = GPU[:3] + runs("gpu-jax", (0.06, 0.0601, 0.06), framework="jax")
    made = summary(TORCH + one + four)
    assert [(standing.hardware, standing.ratios[0].fast) for standing in made.frameworks.standings] == [
        ("NVIDIA H200", "gpu-jax"), ("4 x NVIDIA H200", "gpu-four-jax"),
    ]  # fmt: skip
    alone, together = made.frameworks.sentences
    assert alone.startswith("On one NVIDIA H200 JAX trains this network fastest in fp32: 1.68x")
    assert together.startswith("On 4 NVIDIA H200 GPUs JAX trains")
    assert {row["device"] for row in framework_tables.framework_rows(made)} == {"NVIDIA H200", "4 x NVIDIA H200"}


def test_batch_sizes_name_the_framework_of_a_cell_that_is_not_torchs():
    cells = [
        run
        for size, jax in ((100, 0.3), (1000, 0.5))
        for run in runs(f"cpu-{size}", (4.0, 4.0, 4.1), batch_size=size)
        + runs(f"gpu-{size}", (0.4, 0.4, 0.41), batch_size=size)
        + runs(f"gpu-jax-{size}", (jax, jax, jax), batch_size=size, framework="jax")
    ]
    rows = ratio_tables.batch_rows(summary(cells, baseline="cpu-1000"))
    assert [(row["fastest CPU cell"], row["fastest GPU cell"]) for row in rows] == [
        ("cpu-100", "gpu-jax-100 (with JAX)"), ("cpu-1000", "gpu-1000"),
    ]  # fmt: skip


def test_what_each_framework_reached_stands_beside_its_own_reference():
    standing, on_gpu = part(with_stack(TORCH + KERAS + JAX + GPU + GPU_JAX)).standings
    told = [(each.framework, each.reference, each.best, each.versions) for each in standing.frameworks]
    assert told == [
        ("torch", "cpu-reference", "cpu-tuned", "torch 2.15"),
        ("keras", "cpu-keras", "cpu-keras-tuned", "keras 3.12; tensorflow 2.21"),
        ("jax", "cpu-jax", "cpu-jax", "jax 0.10"),
    ]
    assert standing.frameworks[0].over_reference.estimate == pytest.approx(6.1 / 2.01, rel=0.01)
    assert [each.framework for each in on_gpu.frameworks] == ["jax", "torch"]
    order = KERAS[3:] + KERAS[:3]
    assert part(TORCH + order).standings[0].frameworks[1].reference == "cpu-keras"
    failed = part(TORCH + wrong(KERAS[:3]) + KERAS[3:]).standings[0].frameworks[1]
    assert (failed.reference, failed.best) == (None, "cpu-keras-tuned")


def test_gpu_against_cpu_stands_within_each_framework_too():
    found = part(TORCH + JAX + GPU + GPU_JAX)
    assert [(one.framework, one.cpu, one.gpu) for one in found.within] == [
        ("torch", "cpu-tuned", "gpu-bf16"), ("jax", "cpu-jax", "gpu-jax"),
    ]  # fmt: skip
    assert "GPU against CPU within one framework, each at its best: 100x" in found.details[-1]
    assert part(TORCH + JAX + GPU).within == []


def test_the_answer_names_the_frameworks_of_all_its_sides_once_one_is_not_torch():
    leading = summary(TORCH + KERAS + JAX + GPU + GPU_JAX).headline
    assert leading.plain == (
        "One NVIDIA H200 with JAX trains this network 610 times as fast as 8 A cores as people use them with PyTorch, "
        "and 201 times as fast as the same processor at its best with PyTorch."
    )
    assert leading.sentence.startswith(
        f"NVIDIA H200 in bf16 with JAX trains 610x (590{DASH}631) as fast as A CPU, 8 cores, in fp32 with PyTorch: "
    )
    assert leading.fair.sentence.startswith("NVIDIA H200 in bf16 with JAX trains 201x")
    assert [one.sentence for one in leading.beside] == [
        f"In fp32 on both sides, gpu-reference trains 19.9x (19.5{DASH}20.3) as fast as cpu-tuned: "
        "101 ms an epoch against 2.01 s."
    ]


def test_on_one_processor_the_answer_names_both_frameworks():
    fast = runs("cpu-keras-tuned", (1.0, 1.01, 1.0), framework="keras", allocator="tuned")
    made = summary(TORCH + fast)
    assert made.headline.plain == (
        "At their best with Keras on TensorFlow, 8 A cores train this network 6.08 times as fast as with the code that "
        "people usually write in PyTorch."
    )
    said = "On A CPU, 8 cores, cpu-keras-tuned in fp32 with Keras on TensorFlow trains"
    assert made.headline.sentence.startswith(said)
    own = summary(fast + KERAS[:3], baseline="cpu-keras").headline.plain
    assert own.endswith("people usually write in Keras on TensorFlow.")


def test_that_two_frameworks_are_other_packages_goes_without_saying_and_the_rest_does_not():
    made = summary(with_stack(TORCH) + with_stack(GPU_JAX, torch="none"))
    assert "but with" not in made.headline.sentence
    flags = with_stack(TORCH, XLA_FLAGS="none"), with_stack(JAX, XLA_FLAGS="--xla_cpu_x=1")
    assert "XLA_FLAGS" not in " ".join(summary([*flags[0], *flags[1]]).answer)
    made = summary(with_stack(TORCH) + with_stack(JAX, Python="3.12"))
    assert "Python 3.11 against 3.12" in made.frameworks.sentences[0]
    flags = {row.cell: row.flags for row in made.cells}
    assert flags["cpu-jax"] == ["other framework than the baseline", "other software than the baseline"]
    assert not any("other" in flag for flag in flags["cpu-tuned"])


def test_a_rung_of_the_ladder_names_the_framework_that_it_goes_to():
    jax = runs("cpu-jax-tuned", (1.0, 1.0, 1.01), framework="jax", allocator="tuned")
    assert [rung.changed for rung in summary(TORCH + jax).ladder] == [None, "memory kept", "JAX"]
    # Where the device changes, torch is held against torch though JAX is faster.
    assert [rung.cell for rung in summary(TORCH + jax + GPU).ladder] == [
        "cpu-reference", "cpu-tuned", "gpu-reference", "gpu-bf16",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"framework": "jax", "execution": "compile"}, "CPU, JAX, compiled"),
        ({"framework": "jax"}, "CPU, JAX, as typed"),
        ({"device": "gpu", "framework": "keras", "precision": "bf16"}, "GPU, Keras on TensorFlow, bf16"),
        ({"device": "gpu", "framework": "keras-jax", "processes": 2}, "2 GPUs, Keras on JAX, as typed"),
        ({"framework": "numpy", "model": "resnet18"}, "ResNet-18, CPU, numpy, as typed"),
    ],
)
def test_a_cell_of_another_framework_names_it_in_words(settings, said):
    assert label(Cell(**({"cell": "any", "device": "cpu"} | settings))) == said


def test_versions_come_from_the_stack_and_before_it_from_the_machine():
    assert versions_of(with_stack(KERAS[:2]) + with_stack(KERAS[2:3], keras="3.13")) == (
        "keras 3.12, 3.13; tensorflow 2.21"
    )
    assert versions_of(TORCH[:3]) == "torch 2.15"
    assert versions_of(JAX) == "unknown"
    own = [seal(replace(run, stack=Stack("x", {"numpy": "2.4"}))) for run in runs("cpu-np", framework="numpy")]
    assert versions_of(own) == "numpy 2.4"


def test_a_machines_versions_are_those_of_torchs_runs_whichever_came_first():
    machine = replace(JAX[0].machine, torch="none")
    jax = [seal(replace(run, machine=machine)) for run in JAX]
    assert [each.torch for each in summary(jax + TORCH).machines] == ["2.15"]


def test_the_sheets_other_frameworks_are_found_by_device_and_cell():
    cells = [Cell("a", "cpu"), Cell("b", "cpu", framework="jax"), Cell("c", "gpu", framework="keras")]
    assert other_frameworks(cells) == {"cpu": {"b": "jax"}, "gpu": {"c": "keras"}}
    assert other_frameworks(cells[:1]) == {}


def test_the_part_is_written_and_read_again(tmp_path):
    sheet = {"cpu": {"cpu-other": "keras-jax"}}
    for records in (TORCH + KERAS + JAX + GPU + GPU_JAX, TORCH + wrong(KERAS[:3]) + KERAS[3:]):
        made = summary(records, frameworks=sheet)
        write_summary(tmp_path / "summary.json", made)
        assert read_summary(tmp_path / "summary.json") == made


def test_rows_of_a_figure_stand_by_framework_under_its_name_and_the_fastest_last():
    made = summary(TORCH + KERAS + JAX)
    layout = grouped(made.cells)
    assert layout.headings == {0: "JAX", 2: "Keras on TensorFlow", 5: "PyTorch"}
    assert dict(zip(layout.positions, (row.cell for row in layout.cells), strict=True)) == {
        1: "cpu-jax", 3: "cpu-keras", 4: "cpu-keras-tuned", 6: "cpu-reference", 7: "cpu-tuned",
    }  # fmt: skip
    assert layout.rows == 8


def test_the_page_says_which_framework_and_groups_by_it(tmp_path):
    records = with_stack(TORCH + KERAS + JAX + GPU + GPU_JAX)
    made = summary(records)
    draw_page(made, epoch_table(records), [], tmp_path)
    html = (tmp_path / "index.html").read_text()
    header = html[html.index("<header>") : html.index("</header>")]
    assert all(sentence in header for sentence in made.frameworks.sentences)
    assert 'href="#frameworks"' in html
    section = html[html.index('<h2 id="frameworks">') : html.index('<h2 id="cells">')]
    assert all(sentence in section for sentence in [*made.frameworks.sentences, *made.frameworks.details])
    assert "keras 3.12; tensorflow 2.21" in section
    assert "GPU against CPU within one framework" in section
    assert {row["framework"] for row in cell_tables.cell_rows(made)} == {"PyTorch", "JAX", "Keras on TensorFlow"}
    assert "PyTorch over JAX" in (tmp_path / "summary.md").read_text()
    assert "one NVIDIA H200 with JAX" in (tmp_path / "badge.svg").read_text()


def test_a_page_of_torch_alone_has_nothing_on_frameworks(tmp_path):
    made = summary(TORCH + GPU)
    draw_page(made, epoch_table(TORCH + GPU), [], tmp_path)
    html = (tmp_path / "index.html").read_text()
    assert 'id="frameworks"' not in html
    assert "PyTorch" not in html


def test_the_tables_say_whether_each_ratio_is_certain_and_what_differs():
    close = runs("cpu-keras-tuned", (2.0, 2.1, 2.05), framework="keras", allocator="tuned")
    rows = framework_tables.framework_ratio_rows(summary(TORCH + close + JAX))
    told = {(row["faster over slower"], row["precision"]): row for row in rows}
    assert told["PyTorch over Keras on TensorFlow", "fp32"]["certain"] == "no: cannot be told apart"
    far = told["PyTorch over JAX", "fp32"]
    assert (far["certain"], far["what else differs"]) == ("yes", "memory kept against memory given back")
    (row, _) = framework_tables.framework_ratio_rows(summary(TORCH[:1] + JAX[:1]))
    assert row["certain"] == "no: a single run has no interval"
    assert framework_tables.framework_rows(summary(TORCH)) == []


def test_what_is_sent_on_names_the_frameworks_of_both_sides():
    made = summary(TORCH + GPU + GPU_JAX)
    assert [ratio.against for ratio in share.ratios(made)] == [
        "as fast as CPU, as typed with PyTorch", "as fast as the best CPU cell with PyTorch",
    ]  # fmt: skip
    assert "10.0 ms in bf16 with JAX against 6.10 s in fp32 with PyTorch" in share.two_lines(made)[1]
    assert "one NVIDIA H200 with JAX: 610x" in share.render_badge(made)
    alone = summary(TORCH + GPU)
    said = ["as fast as CPU, as typed", "as fast as the best CPU cell"]
    assert [ratio.against for ratio in share.ratios(alone)] == said


def test_a_cell_that_another_framework_trains_now_is_not_compared():
    now = runs("cpu-reference", (1.0, 1.01, 1.0), framework="jax")
    (one,) = compare(runs(), now, Settings(), 0.05)
    assert (one.verdict, one.note, one.ratio) == ("MISSING", "trained by another framework", None)
    old, new = (with_stack(JAX, jax=version) for version in ("0.9", "0.10"))
    (one,) = compare(old, new, Settings(), 0.05)
    assert "other jax 0.9 -> 0.10" in one.note


def test_a_history_never_joins_two_frameworks_and_tells_their_versions(tmp_path):
    exports = [runs("cpu-a", (4.0, 4.0)), *(with_stack(runs("cpu-a", (1.0, 1.1), framework="jax"), jax=version)
               for version in ("0.9", "0.10"))]  # fmt: skip
    for number, records in enumerate(exports, start=1):
        write_export(records, tmp_path / f"{number}.zip", f"2026-0{number}-01T00:00:00+00:00")
    first, second = read_history([str(tmp_path / f"{number}.zip") for number in (1, 2, 3)]).series
    assert [len(one.points) for one in (first, second)] == [1, 2]
    assert second.label == "CPU, JAX, as typed"
    assert second.notes == ["other framework", "other jax 0.9 -> 0.10"]


def of_jax(**changes):
    """Return the runs of measured(), trained by JAX, under names of their own."""
    day = "2026-02-02T00:00:00+00:00"
    renamed = [
        replace(run, cell=replace(run.cell, cell=f"{run.cell.cell}-jax", framework="jax"), started_at=day)
        for run in measured(1.7, **changes)
    ]
    return with_stack(renamed)


def test_the_board_keeps_a_table_for_each_framework_and_mixes_none(tmp_path):
    write_export(with_stack(measured()) + of_jax(), tmp_path / "both.zip", "2026-03-01T00:00:00+00:00")
    board = read_board(find_exports([str(tmp_path)]), Settings(), frozenset())
    assert board.refused == []
    assert [(table.work.framework, len(table.results)) for table in board.tables] == [("torch", 1), ("jax", 1)]
    torch, jax = board.tables
    assert "with JAX on" in title_of(jax)
    assert "JAX" not in title_of(torch)
    assert {torch.results[0].best.cell, torch.results[0].baseline.cell} == {"gpu-best", "cpu-reference"}
    assert {jax.results[0].best.cell, jax.results[0].baseline.cell} == {"gpu-best-jax", "cpu-reference-jax"}
    (row,), (other,) = (result_rows(table, "EUR") for table in (torch, jax))
    assert (row["torch"], other["versions"]) == ("2.15", "jax 0.10")
    assert "versions" not in row
    assert re.search(r"with JAX", render_board(board))
