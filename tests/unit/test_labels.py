import pytest
from support import REPOSITORY
from unit.examples import runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.labels import label, labels
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError
from epochbench.sheets import PUBLISHED_COLUMNS, read_cells, read_labels, read_published
from epochbench.timing.cell import Cell

SHEET = "cell\tdevice\tallocator\tlabel\ncpu-reference\tcpu\t\t\ncpu-tuned\tcpu\ttuned\tthe same, tuned\n"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "CPU, as typed"),
        ({"allocator": "tuned"}, "CPU, memory kept"),
        ({"threads": 1}, "CPU, one core"),
        ({"threads": "1/4", "batch_size": 10}, "CPU, a quarter of the cores, batches of 10"),
        ({"threads": 6, "processes": 2}, "CPU, 6 threads, 2 processes"),
        ({"model": "resnet18", "micro_batch": 125}, "ResNet-18, CPU, 125 images at a time"),
        ({"device": "gpu", "threads": 1}, "GPU, one CPU core"),
        ({"device": "gpu", "threads": 6, "processes": 4, "precision": "bf16"}, "4 GPUs, bf16, 6 CPU threads"),
        ({"device": "gpu", "model": "resnet18", "processes": 2}, "ResNet-18, 2 GPUs, as typed"),
        ({"model": "own"}, "model own, CPU, as typed"),
        ({"model": "nets/mine.py:network"}, "mine.py:network, CPU, as typed"),
        ({"device": "gpu", "precision": "tf32", "gpu_model": "h100", "constraint": "ib"}, "GPU, TF32"),
        (
            {"device": "gpu", "precision": "bf16", "layers": "fused", "memory_format": "blocks"},
            "GPU, bf16, kernels by hand",
        ),
    ],
)
def test_a_cell_is_called_by_what_it_sets(settings, said):
    assert label(Cell(**({"cell": "any", "device": "cpu"} | settings))) == said


@pytest.mark.parametrize("sheet", ["cells", "models", "sweep"])
def test_no_two_cells_of_a_shipped_sheet_are_called_alike_and_none_needs_its_name(sheet):
    cells = {cell.cell: cell for cell in read_cells(REPOSITORY / "config" / f"{sheet}.tsv")}
    said = labels(cells, {})
    assert len(set(said.values())) == len(cells)
    twins = {"cpu-batch-1000": "cpu-threads-all", "gpu-batch-1000": "gpu-threads-all"}  # the same work in two series
    named = {name for name, words in said.items() if f"({name})" in words}
    assert named <= {*twins, *twins.values()}


def test_cells_that_would_read_alike_are_told_apart_by_name():
    cells = {name: Cell(name, "cpu") for name in ("cpu-a", "cpu-b", "cpu-a@node7")}
    assert labels(cells, {}) == {
        "cpu-a": "CPU, as typed (cpu-a)", "cpu-b": "CPU, as typed (cpu-b)", "cpu-a@node7": "CPU, as typed on node7",
    }  # fmt: skip


def test_what_the_sheet_calls_a_cell_is_told_from_what_others_are_called_by_themselves():
    cells = {f"cpu-{letter}": Cell(f"cpu-{letter}", "cpu") for letter in "abcdef"}
    cells["cpu-d"] = Cell("cpu-d", "cpu", allocator="tuned")
    own = {"cpu-a": "CPU, as typed (cpu-b)", "cpu-c": "CPU,  Memory kept", "cpu-e": "CPU, as typed (cpu-b) (1)"}
    said = labels(cells, own)
    assert len({words.casefold().replace("  ", " ") for words in said.values()}) == len(cells)
    assert said["cpu-d"] == "CPU, memory kept (cpu-d)"


def test_the_sheets_own_words_come_first_and_decide_nothing_that_is_timed(tmp_path):
    sheet = tmp_path / "cells.tsv"
    sheet.write_text(SHEET)
    assert read_labels(sheet) == {"cpu-tuned": "the same, tuned"}
    assert read_cells(sheet) == [Cell("cpu-reference", "cpu"), Cell("cpu-tuned", "cpu", allocator="tuned")]
    records = runs() + runs("cpu-tuned", (1.0, 1.0, 1.1), allocator="tuned")
    summary = aggregate(records, Settings(labels=read_labels(sheet)), [])
    assert [row.label for row in summary.cells] == ["CPU, as typed", "the same, tuned"]


@pytest.mark.parametrize("words", ["x" * 61, "<b>", "a|b", "a\x01b", "a\u202eb", "a\u200bb", "a\u2028b", "a\x85b"])
def test_a_label_that_figures_cannot_show_is_refused_with_its_row(tmp_path, words):
    sheet = tmp_path / "cells.tsv"
    sheet.write_text(SHEET.replace("the same, tuned", words))
    with pytest.raises(BenchmarkError, match=r"row 'cpu-tuned': label"):
        read_cells(sheet)
    with pytest.raises(BenchmarkError) as refused:
        read_cells(sheet)
    assert str(refused.value).isprintable()


def test_a_published_name_with_what_cannot_be_seen_is_refused_with_its_row(tmp_path):
    sheet = tmp_path / "published.tsv"
    sheet.write_text("\t".join(PUBLISHED_COLUMNS) + "\na\u202eb\tcpu\tA CPU\t1.0\t50000\tminimum\ta post\n")
    with pytest.raises(BenchmarkError, match=r"row 'ab': label 'a\\u202eb' has a character that cannot be seen"):
        read_published(sheet)


def test_the_waterfall_speaks_the_same_words():
    records = runs("cpu-reference", (4.0, 4.0, 4.1)) + runs("cpu-tuned", (3.0, 3.0, 3.0), allocator="tuned")
    gpu = runs("gpu-reference", (0.2, 0.2, 0.2)) + runs("gpu-bf16", (0.1, 0.1, 0.1), precision="bf16")
    rungs = aggregate(records + gpu, Settings(), []).ladder
    assert [rung.changed for rung in rungs] == [
        None, "memory kept", "CPU to GPU, and with it memory given back", "bf16",
    ]  # fmt: skip
    assert [rung.settings for rung in rungs][1:] == [
        "allocator: system to tuned", "CPU to GPU, and with it allocator: tuned to system", "precision: fp32 to bf16",
    ]  # fmt: skip


@pytest.mark.parametrize("column", ["framework", "execution", "model"])
def test_what_cannot_be_seen_in_the_columns_of_others_is_not_said(column):
    """A record from elsewhere may have any word in any column."""
    value = "a\N{RIGHT-TO-LEFT OVERRIDE}b\nc" + (":d" if column == "model" else "")
    said = label(Cell("x", "cpu", **{column: value}))
    assert "ab c" in said
    assert said.isprintable()
