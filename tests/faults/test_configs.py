"""Whatever is written in the config and the sheet: it is valid, or it is refused in plain lines; never a traceback."""

import random
import string
import subprocess

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import SNAKEMAKE

from epochbench.config import resolve_config
from epochbench.errors import BenchmarkError
from epochbench.schemas import load_schema
from epochbench.sheets import read_cells
from epochbench.timing.cell import COLUMNS

CONFIG = load_schema("config")
NASTY = [
    "",
    "0",
    "-1",
    "1e9",
    "nan",
    "all",
    "$(touch pwned)",
    "; rm -rf /",
    "`id`",
    "'",
    '"',
    "../..",
    "\u202e",
    "\x00",
]
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.sampled_from(NASTY),
    st.lists(st.text(max_size=5), max_size=3), st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)  # fmt: skip


def objects(schema):
    """Configs that have the schema's keys, or others, with values of any kind."""
    parts = {
        key: objects(part) if part.get("type") == "object" and "properties" in part else scalars
        for key, part in schema["properties"].items()
    }
    return st.one_of(scalars, st.fixed_dictionaries({}, optional=parts | {"unknown-key": scalars}))


TOP = {key: objects(part) if "properties" in part else scalars for key, part in CONFIG["properties"].items()}


def refusal_of(read, *arguments):
    """Return the plain refusal, or None where there is none; any other error fails the test."""
    try:
        read(*arguments)
    except BenchmarkError as refusal:
        return str(refusal)
    return None


@pytest.mark.fault("configs", "refused")
@settings(max_examples=1500, deadline=None)
@given(config=st.fixed_dictionaries({}, optional=TOP))
@example({"cells": "\x00"})
@example({"cells": "\ud800"})
@example({"published": "\x00"})
@example({"timing": {"precision": float("nan")}})
@example({"timing": {"seed": 1e300}})
@example({"timing": {"runs": 3.0}})
@example({"dataset": {"archive": "~nobody-at-all/\x00", "sha256": "a" * 64}})
@example({"dataset": {"archive": "x" * 5000, "sha256": "a" * 64}})
def test_any_config_is_valid_or_refused_in_plain_lines(config):
    refusal = refusal_of(resolve_config, config)
    if refusal is None:
        assert set(TOP) <= set(resolve_config(config))
    else:
        assert refusal.startswith("The config has mistakes; nothing was run:")


fields = st.one_of(
    st.sampled_from([*NASTY, "cpu", "gpu", "fp32", "bf16", "cuda_graph", "1/2", "1000", "tuned", "onednn"]),
    st.text(alphabet=string.printable, max_size=12),
)


@pytest.mark.fault("configs", "refused")
@settings(max_examples=1500, deadline=None)
@given(
    header=st.lists(st.one_of(st.sampled_from(list(COLUMNS)), fields), min_size=1, max_size=8),
    rows=st.lists(st.lists(fields, max_size=9), max_size=5),
    seed=st.integers(0, 3),
)
def test_any_sheet_is_valid_or_refused_in_plain_lines(tmp_path_factory, header, rows, seed):
    if seed:  # mostly with the columns that are needed, so that the rows are read too
        header = ["cell", "device", *header[: seed + 1]]
    path = tmp_path_factory.getbasetemp() / f"sheet-{random.Random(str(header)).random()}.tsv"
    path.write_text("\n".join("\t".join(line) for line in [header, *rows]), encoding="utf-8", errors="replace")
    refusal = refusal_of(read_cells, path)
    path.unlink()
    assert refusal is None or path.name in refusal


@pytest.fixture(scope="module")
def one_clone(tmp_path_factory, repository_copy):
    return repository_copy(tmp_path_factory.mktemp("configs") / "clone")


@pytest.mark.fault("configs", "refused")
@pytest.mark.parametrize(
    "config",
    [
        {"cells": "$(touch pwned).tsv"},
        {"dataset": {"archive": "; touch pwned", "sha256": "a" * 64}},
        {"statistics": {"baseline": "`touch pwned`"}},
        {"timing": {"runs": "a lot"}},
        {"cluster": {"partition": "x; touch pwned"}},
        {"results": {"import": ["no such.zip"]}},
        {"cells": None, "timing": [], "dataset": 3},
    ],
    ids=lambda config: next(iter(config)),
)
def test_the_real_snakemake_refuses_it_in_plain_lines(one_clone, config):
    (one_clone / "mine.yaml").write_text(yaml.safe_dump(config))
    command = [*SNAKEMAKE, "-n", "--cores", "1", "--configfile", "mine.yaml"]
    done = subprocess.run(command, cwd=one_clone, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "Traceback" not in said
    assert done.returncode != 0
    assert "nothing was run" in said
    assert not list(one_clone.rglob("pwned"))
