"""A network's file is read before it is run: what it declares, and what it imports."""

import pytest

from epochbench import networks
from epochbench.errors import BenchmarkError
from epochbench.sheets import read_cells


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder of networks."""
    monkeypatch.setattr(networks, "FOLDER", tmp_path)
    networks.declared.cache_clear()
    yield tmp_path
    networks.declared.cache_clear()


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ('LAYERS = ("published", "quick")', ("published", "quick")),
        ('LAYERS: tuple[str, ...] = ("published", "quick")', ("published", "quick")),
        ('WAYS = LAYERS = ("published", "quick")', ("published", "quick")),
        ("from torch import nn", ("published",)),
        ("counts, x.y = 1, 2\nfor size in ():\n    pass", ("published",)),
    ],
)
def test_what_a_network_declares_is_read_without_running_it(folder, text, layers):
    (folder / "net.py").write_text(text)
    assert networks.declared("net") == {"LAYERS": layers, "MEMORY_FORMATS": ("contiguous",)}


MALFORMED = ["LAYERS =", "LAYERS = 3", 'LAYERS = ["a"]', "LAYERS = ()", 'LAYERS = ("a", 1)', 'LAYERS = (*A, "b")',
             "LAYERS: tuple[str, ...]", "LAYERS = ('published')", "\0"]  # fmt: skip


@pytest.mark.fault("broken networks", "refused")
@pytest.mark.parametrize("text", MALFORMED)
def test_a_broken_network_is_refused_where_it_is_asked_for(folder, tmp_path, text):
    (folder / "broken.py").write_text(text)
    (folder / "sound.py").write_text("")
    with pytest.raises(BenchmarkError, match=r"networks/broken\.py: (LAYERS must be a tuple of words|not readable as)"):
        networks.declared("broken")
    sheet = tmp_path / "cells.tsv"
    sheet.write_text("cell\tdevice\tmodel\na\tcpu\tsound\n")
    assert [cell.model for cell in read_cells(sheet)] == ["sound"]
    sheet.write_text("cell\tdevice\tmodel\na\tcpu\tbroken\n")
    with pytest.raises(BenchmarkError, match=r"row 'a': networks/broken\.py: "):
        read_cells(sheet)


@pytest.mark.parametrize(
    "text",
    [
        "from epochbench.networks import _shared",
        "from epochbench.networks._shared import block",
        "import epochbench.networks._shared",
        "from . import _shared",
        "from ._shared import block",
        "def build():\n    from epochbench.networks._shared import block",
        "from epochbench.networks.other import block",
    ],
)
def test_the_files_that_a_network_imports_are_its_sources_too(folder, text):
    (folder / "net.py").write_text(text)
    (folder / "other.py").write_text("from ._shared import block")
    (folder / "_shared.py").write_text("from epochbench.networks._parts import conv")
    (folder / "_parts").mkdir()
    (folder / "_parts" / "conv.py").write_text("from . import pool")
    (folder / "_alone.py").write_text("")
    names = {str(path.relative_to(folder)) for path in networks.sources("net")}
    assert names - {"other.py"} == {"net.py", "_shared.py", "_parts/conv.py"}
    assert networks.names() == ("net", "other")
