import re
from dataclasses import replace

import pytest
import yaml
from support import REPOSITORY

from epochbench.columns import BEGIN, END, LABEL, column_table, contradictions, sheet_schema, with_table
from epochbench.config import protocol, resolve_config
from epochbench.errors import BenchmarkError
from epochbench.sheets import read_cells, read_published
from epochbench.timing.cell import COLUMNS, Cell

SHEET = "cell\tdevice\tmodel\tprecision\tbatch_size\tmicro_batch\tthreads\tprocesses\tallocator\texecution\n"


@pytest.fixture(autouse=True)
def in_repository(monkeypatch):
    monkeypatch.chdir(REPOSITORY)


def problems(config):
    with pytest.raises(BenchmarkError) as refusal:
        resolve_config(config)
    return [line.strip() for line in str(refusal.value).splitlines()[1:]]


def sheet(tmp_path, *rows, header=SHEET):
    path = tmp_path / "cells.tsv"
    path.write_text(header + "".join(f"{row}\n" for row in rows))
    return path


def sheet_problems(path):
    with pytest.raises(BenchmarkError) as refusal:
        read_cells(path)
    return str(refusal.value).splitlines()


def test_an_empty_config_is_the_config_file():
    """The schema's defaults and config.yaml say the same, key by key, and the file spells out every key."""
    written = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    assert resolve_config({}) == written


def test_a_sheet_is_the_callers_or_else_the_workflows_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = str(REPOSITORY / "config/quick.tsv")
    assert resolve_config({"cells": "config/quick.tsv"}, REPOSITORY)["cells"] == own
    (tmp_path / "config").mkdir()
    (tmp_path / "config/quick.tsv").write_text((REPOSITORY / "config/quick.tsv").read_text())
    assert resolve_config({"cells": "config/quick.tsv"}, REPOSITORY)["cells"] == "config/quick.tsv"
    with pytest.raises(BenchmarkError, match=r"\n  nowhere\.tsv: not readable"):
        resolve_config({"cells": "nowhere.tsv"}, REPOSITORY)


def test_columns_fill_what_rows_leave_empty(tmp_path):
    """Snakemake hands on the numbers of --config columns='{...}' as text."""
    path = sheet(tmp_path, "a\tcpu", "b\tcpu\tlenet\tfp32\t500")
    columns = {"model": "resnet18", "batch_size": "64"}
    assert [(cell.model, cell.batch_size) for cell in read_cells(path, columns)] == [("resnet18", 64), ("lenet", 500)]
    lines = problems({"columns": {"modell": "lenet"}, "cells": str(path)})
    assert lines[0].startswith("cells.tsv, row 'a': unknown column 'modell'; known are cell, device, model")


def test_a_run_gets_the_protocol_of_the_config():
    assert protocol(resolve_config({"optimizer": {"momentum": 0.5}})).momentum == 0.5
    assert protocol(resolve_config({})).max_seconds == resolve_config({})["timing"]["max_seconds"]


@pytest.mark.fault("configs", "refused")
@pytest.mark.parametrize(
    ("config", "line"),
    [
        ({"timing": {"runs": "three"}}, "timing.runs: 'three' is not of type integer"),
        ({"timing": {"until_accuracy": 40}}, "timing.until_accuracy: 40 is more than 1"),
        ({"optimizer": {"name": "lion"}}, "optimizer.name: 'lion' is not one of sgd, adam, adamw"),
        ({"timing": {"runs": -1}}, "timing.runs: -1 is less than 1"),
        ({"timing": {"runs": 1.5}}, "timing.runs: 1.5 is not of type integer"),
        ({"timing": {"rums": 1}}, "'timing.rums': unknown key; known here are runs, warmup_steps"),
        ({"tuming": {}}, "'tuming': unknown key; known here are dataset, devices"),
        ({"timing": 3}, "timing: 3 is not of type object"),
        ({"timing": {"precision": "1e-3"}}, "timing.precision: '1e-3' is text; YAML reads a number only"),
        ({"timing": {"min_seconds": 9, "max_seconds": 2}}, "timing.min_seconds: 9 is more than timing.max_seconds, 2"),
        ({"devices": {"gpu": "maybe"}}, "devices.gpu: 'maybe' is not one of auto, require, skip"),
        ({"devices": {"cpu": "maybe"}}, "devices.cpu: 'maybe' is not of type boolean"),
        (
            {"dataset": {"source": "mni"}},
            "dataset.source: 'mni' is not one of cifar10, cifar100, fashion_mnist, folder, mn",
        ),
        ({"dataset": {"source": "folder"}}, "dataset.folder.path: empty, but dataset.source is folder"),
        ({"dataset": {"source": "folder", "folder": {"path": "/no"}}}, "dataset.folder.path: there is no folder '/no'"),
        ({"dataset": {"folder": {"size": "big"}}}, "dataset.folder.size: 'big' does not look as it must: Height and"),
        ({"dataset": {"synthetic": {"shape": "3x0x9"}}}, "dataset.synthetic.shape: '3x0x9' does not look as it must"),
        ({"dataset": {"residency": "cloud"}}, "dataset.residency: 'cloud' is not one of device, host"),
        ({"dataset": {"archive": "/nowhere", "sha256": "0" * 64}}, "dataset.archive: there is no file '/nowhere'"),
        ({"dataset": {"archive": "http://x/y"}}, "dataset.sha256: empty, but dataset.archive is 'http://x/y'"),
        ({"dataset": {"sha256": "0" * 64}}, "dataset.sha256: given without dataset.archive"),
        ({"dataset": {"archive": "Makefile", "sha256": "xyz"}}, "dataset.sha256: 'xyz' does not look as it must"),
        ({"dataset": {"mirrors": ["ftp://x"]}}, "dataset.mirrors.0: 'ftp://x' does not look as it must"),
        ({"cells": "nowhere.tsv"}, "nowhere.tsv: not readable (No such file or directory)"),
        ({"statistics": {"baseline": "cpu-x"}}, "statistics.baseline: 'cpu-x' is no cell of config/cells.tsv; there"),
        (
            {"statistics": {"baseline": "cpu-x@a"}},
            "statistics.baseline: 'cpu-x@a' is another machine's, but results.im",
        ),
        (
            {"statistics": {"best": "cpu-x"}},
            "statistics.best: 'cpu-x' is no cell of config/cells.tsv; there are cpu-ref",
        ),
        ({"statistics": {"best": "cpu-reference"}}, "statistics.best: 'cpu-reference' is the baseline too"),
        ({"devices": {"cpu_bf16": "maybe"}}, "devices.cpu_bf16: 'maybe' is not one of auto, require, skip"),
        ({"statistics": {"confidence": 1}}, "statistics.confidence: 1 must be less than 1"),
        (
            {"frameworks": {"interpreters": {"jax": "~nobody-here/bin/python"}}},
            "frameworks.interpreters.jax: '~nobody-here/bin/python' is not a path that a file can have",
        ),
        (
            {"frameworks": {"interpreters": {"jax": "a\0b"}}},
            "frameworks.interpreters.jax: 'ab' is not a path that a file can have",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line_with_its_key_value_and_remedy(config, line):
    (found,) = problems(config)
    assert found.startswith(line)


@pytest.mark.fault("configs", "refused")
def test_all_mistakes_are_told_at_once():
    found = problems({"timing": {"runs": 0, "seed": -1}, "devices": {"gpu": "x"}, "nonsense": 1})
    assert len(found) == 4


def test_numbers_given_on_the_command_line_are_numbers():
    """Snakemake hands on what stands inside --config key='{...}' as text."""
    resolved = resolve_config({"timing": {"runs": "2", "max_seconds": "4.5"}, "devices": {"cpu": "true"}})
    assert resolved["timing"]["runs"] == 2
    assert resolved["timing"]["max_seconds"] == 4.5
    assert resolved["devices"]["cpu"] is True


@pytest.mark.fault("configs", "refused")
@pytest.mark.parametrize(
    ("row", "line"),
    [
        ("a\ttpu", "cells.tsv, row 'a': device 'tpu' is not one of cpu, gpu"),
        ("a\tcpu\t\tbf15", "cells.tsv, row 'a': precision 'bf15' is not one of fp32, tf32, bf16, fp16"),
        ("a\tcpu\tvgg", "cells.tsv, row 'a': model 'vgg' is neither one of lenet, resnet18 nor torchvision:NAME"),
        ("a\tcpu\t\t\t-5", "cells.tsv, row 'a': batch_size -5 is less than 1"),
        ("a\tcpu\t\t\tmany", "cells.tsv, row 'a': batch_size 'many' is not of type integer"),
        ("a\tcpu\t\t\t\t\tsome", "cells.tsv, row 'a': threads 'some' is neither a whole number from 1 on"),
        ("A b\tcpu", "cells.tsv, row 'A b': cell 'A b' does not look as it must"),
        ("../../x\tcpu", "cells.tsv, row '../../x': cell '../../x' does not look as it must"),
        ("\tcpu", "cells.tsv, row '1': cell '' does not look as it must"),
        ("a\tcpu\t\ttf32", "cells.tsv, row 'a': precision tf32 is a GPU's"),
        ("a\tcpu\t\tfp16", "cells.tsv, row 'a': precision fp16 is a GPU's"),
        ("a\tcpu\t\t\t\t\t\t\t\tcuda_graph", "cells.tsv, row 'a': execution cuda_graph is a GPU's"),
        ("a\tgpu\t\t\t\t\t\t\ttuned", "cells.tsv, row 'a': allocator tuned is a CPU's; a GPU has system"),
        ("a\tcpu\t\t\t10\t20", "cells.tsv, row 'a': micro_batch 20 is more than batch_size 10"),
        ("a\tcpu\t\t\t10\t\t\t3", "cells.tsv, row 'a': batch_size 10 cannot be shared equally by 3 processes"),
        (
            "a\tcpu\t\t\t10\t8\t\t2",
            "cells.tsv, row 'a': micro_batch 8 is more than one process's share",
        ),
        ("a\tcpu\t\t\t\t\t1\t2", "cells.tsv, row 'a': threads 1 are fewer than processes 2"),
        ("a\tgpu\t\t\t\t\t\t2\t\tcuda_graph", "cells.tsv, row 'a': execution cuda_graph with processes 2"),
        ("a\tcpu\t\t\t\t\t\t\t\t\tx", "cells.tsv, row 1: has 11 fields under 10 columns"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, line):
    assert sheet_problems(sheet(tmp_path, row))[0].startswith(line)


FUSED = Cell("a", "gpu", precision="bf16", layers="fused", memory_format="blocks", execution="epoch_graph")


def test_a_step_by_hand_has_its_own_layout_and_way():
    assert contradictions(FUSED) == []
    assert contradictions(replace(FUSED, execution="eager", batch_size=61)) == []


@pytest.mark.fault("configs", "refused")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"memory_format": "channels_last"},
            "layers fused with memory_format channels_last is not supported; fused needs",
        ),
        (
            {"layers": "published"},
            "layers published with memory_format blocks is not supported; fused needs blocks, and",
        ),
        (
            {"precision": "fp32"},
            "layers fused with precision fp32 and execution epoch_graph is not supported; it takes",
        ),
        ({"execution": "compile"}, "layers fused with precision bf16 and execution compile is not supported; it takes"),
        ({"micro_batch": 10}, "layers fused take a whole batch in one process; leave micro_batch and processes empty"),
        ({"processes": 2, "execution": "eager"}, "layers fused take a whole batch in one process; leave micro_batch"),
        ({"model": "resnet18"}, "layers fused is not one of model resnet18's, which has published"),
        ({"device": "cpu"}, "memory_format blocks is a GPU's; a CPU has contiguous or channels_last or onednn"),
    ],
)
def test_what_does_not_go_with_a_step_by_hand_is_told(changes, reason):
    assert contradictions(replace(FUSED, **changes))[0].startswith(reason)


@pytest.mark.fault("configs", "refused")
def test_all_wrong_rows_are_told_at_once(tmp_path):
    found = sheet_problems(sheet(tmp_path, "a\tcpu", "a\tcpu", "b\ttpu", "c\tcpu\t\ttf32"))
    assert [line.split(":")[0] for line in found] == [f"cells.tsv, row '{name}'" for name in "bca"]
    assert "occurs 2 times" in found[2]


@pytest.mark.fault("configs", "refused")
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("cell,device\na,cpu\n", "its columns are separated by commas"),
        ("name\tdevice\na\tcpu\n", "column 'cell' is missing"),
        ("cell\tdevice\tdevice\na\tcpu\tcpu\n", "column 'device' occurs twice"),
        ("cell\tdevice\tcolour\na\tcpu\tred\n", "unknown column 'colour'; known are cell, device"),
        ("cell\tdevice\n", "has no rows"),
        ("", "column 'cell' is missing"),
    ],
)
def test_a_wrong_sheet_is_told(tmp_path, content, line):
    (tmp_path / "cells.tsv").write_text(content)
    assert line in sheet_problems(tmp_path / "cells.tsv")[0]


@pytest.mark.fault("configs", "refused")
def test_a_sheet_that_is_no_text_is_told(tmp_path):
    (tmp_path / "cells.tsv").write_bytes(b"\xff\xfe\x00c")
    assert "not UTF-8" in sheet_problems(tmp_path / "cells.tsv")[0]


def test_empty_fields_mean_the_defaults(tmp_path):
    assert read_cells(sheet(tmp_path, "a\tcpu\t\t\t\t\tall", "7\tgpu")) == [Cell("a", "cpu"), Cell("7", "gpu")]


@pytest.mark.parametrize("name", ["cells.tsv", "quick.tsv", "models.tsv", "sweep.tsv", "accuracy.tsv"])
def test_our_own_sheets_make_sense(name):
    cells = read_cells(REPOSITORY / "config" / name)
    assert cells
    assert not any(contradictions(cell) for cell in cells)


def test_the_published_results_are_the_posts():
    cpu, gpu = read_published(REPOSITORY / "config/published.tsv")[:2]
    assert (cpu["seconds"], gpu["seconds"]) == (82.470, 0.828756)
    assert cpu["images"] == gpu["images"] == 50_000


@pytest.mark.fault("configs", "refused")
def test_a_wrong_published_row_is_named(tmp_path):
    path = tmp_path / "published.tsv"
    path.write_text("label\tdevice\thardware\tseconds\timages\tstatistic\tsource\nx\tcpu\ty\tfast\t1\tz\ts\n")
    with pytest.raises(BenchmarkError, match=r"published.tsv, row 'x': seconds 'fast' is no positive number"):
        read_published(path)


def test_a_step_by_hand_is_refused_for_another_optimiser_in_one_line_that_names_its_cells():
    line = (
        "optimizer.name: adamw with weight_decay 0, but layers fused (gpu-fused, gpu-best in config/cells.tsv) know "
        "sgd without weight decay alone; take a sheet without them, such as config/accuracy.tsv"
    )
    adamw = {"optimizer": {"name": "adamw"}}
    assert problems(adamw) == [line]
    decaying = problems({"optimizer": {"weight_decay": 0.1}})
    assert decaying == [line.replace("adamw with weight_decay 0,", "sgd with weight_decay 0.1,")]
    for fine in ({"devices": {"gpu": "skip"}}, {"cells": "config/accuracy.tsv"}):
        assert protocol(resolve_config(adamw | fine)).optimizer == "adamw"


def test_accuracy_is_a_valid_config_that_asks_for_one():
    asked = resolve_config(yaml.safe_load((REPOSITORY / "config/accuracy.yaml").read_text()))
    assert protocol(asked).until_accuracy == asked["timing"]["until_accuracy"] > 0


def test_quick_is_a_valid_config_on_synthetic_data():
    quick = resolve_config(yaml.safe_load((REPOSITORY / "config/quick.yaml").read_text()))
    assert quick["dataset"]["source"] == "synthetic"


def described(schema, path=""):
    """Yield the path and description of every key."""
    for key, part in schema.get("properties", {}).items():
        yield f"{path}{key}", part.get("description", "")
        yield from described(part, f"{path}{key}.")


@pytest.mark.parametrize("name", ["config", "record", "summary"])
def test_every_key_of_a_schema_is_described(name):
    schema = yaml.safe_load((REPOSITORY / f"workflow/schemas/{name}.schema.yaml").read_text())
    assert [key for key, text in described(schema) if not text.endswith(".")] == []


def test_the_config_readme_names_every_key():
    text = (REPOSITORY / "config/README.md").read_text()
    schema = yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text())
    assert [key for key, _ in described(schema) if not re.search(rf"`{re.escape(key)}`", text)] == []


def test_the_config_readmes_table_is_that_of_the_columns():
    """A column is described where it is declared, in timing/cell.py; `make format` writes the table."""
    text = (REPOSITORY / "config/README.md").read_text()
    assert with_table(text) == text
    assert with_table(f"above\n{BEGIN}\nold\n{END}\nbelow\n").splitlines()[:1] == ["above"]
    assert all(f"| {' | '.join(row)} |" in with_table(f"{BEGIN}{END}") for row in column_table())
    assert list(sheet_schema()["properties"]) == [*COLUMNS, LABEL]
