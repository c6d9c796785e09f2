import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from unit.examples import runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.tables import epoch_table
from epochbench.report import ratio_tables
from epochbench.report.draw import draw_page
from epochbench.report.references import scaled_references
from epochbench.timing.record import Dataset, seal

PUBLISHED = [
    {
        "label": "Flux.jl", "device": "cpu", "hardware": "i7", "seconds": 82.47, "images": 50_000,
        "statistic": "minimum of 1", "source": "a post",
    }
]  # fmt: skip
HOSTILE = "<script>alert(1)</script> \"quoted\" & 'more' $x_1$ \N{RIGHT-TO-LEFT OVERRIDE}\N{PILE OF POO}"


def draw(folder, records, notes=(), samples=None):
    summary = aggregate(records, Settings(), list(notes))
    draw_page(summary, epoch_table(records), PUBLISHED, folder, samples)
    return summary


class Page(HTMLParser):
    """What a page holds: its text, its elements, and every address that it would load."""

    def __init__(self, html):
        super().__init__()
        self.text, self.tags, self.addresses = "", [], []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for key, value in attributes if key in ("src", "href", "xlink:href", "data")]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    records = runs() + runs("cpu-tuned", (1.0, 1.05, 1.1)) + runs("gpu-best", (0.02, 0.021, 0.022))
    return folder, draw(folder, records, ["A note."])


def test_draws_every_file(drawn):
    folder, _ = drawn
    assert sorted(path.name for path in folder.iterdir()) == [
        "badge.svg", "card.png", "card.svg", "card.txt",
        "index.html", "speedup.csv", "speedup.pdf", "speedup.png", "speedup.svg", "summary.md",
    ]  # fmt: skip
    assert matplotlib.image.imread(folder / "speedup.png").shape[1] == 2880  # 9.6 inches at 300 dots
    assert (folder / "speedup.pdf").read_bytes().startswith(b"%PDF")


def test_a_ladder_is_drawn_with_its_data_and_gone_without_one(tmp_path):
    draw(tmp_path, runs() + runs("cpu-tuned", (1.0, 1.1), allocator="tuned"))
    for kind in ("csv", "pdf", "png", "svg"):
        assert (tmp_path / f"waterfall.{kind}").exists()
    assert "allocator: system to tuned" in Page((tmp_path / "index.html").read_text()).text
    draw(tmp_path, runs())
    assert not list(tmp_path.glob("waterfall.*"))


def test_the_printed_factors_multiply_to_the_ratio_on_top(tmp_path):
    made = runs() + runs("cpu-tuned", (1.0, 1.05, 1.1), allocator="tuned") + runs("gpu-reference", (0.03, 0.03, 0.03))
    summary = draw(tmp_path, made + runs("gpu-best", (0.02, 0.021, 0.022), precision="tf32"))
    factors = [float(row["as fast as before"].rstrip("x")) for row in ratio_tables.rung_rows(summary)[1:]]
    assert math.prod(factors) == pytest.approx(summary.headline.speedup.estimate, rel=0.01 * len(factors) / 2)
    text = Page((tmp_path / "index.html").read_text()).text
    assert "3 steps multiply to 100x, the ratio at the top of this page." in text
    assert "The step over changes more than the device: CPU to GPU, and with it memory given back." in text
    assert "The order matters" in text
    assert summary.headline.beside[0].sentence in text


def test_the_page_answers_first_and_says_every_number_of_the_table(drawn):
    folder, summary = drawn
    page = Page((folder / "index.html").read_text())
    assert page.text.index(summary.headline.sentence) < page.text.index("All cells")
    assert summary.answer[0] in (folder / "summary.md").read_text()
    assert "A note." in page.text
    for row in summary.cells:
        assert row.cell in page.text


def test_the_page_needs_nothing_beside_it(drawn):
    folder, _ = drawn
    html = (folder / "index.html").read_text()
    assert [address for address in Page(html).addresses if not address.startswith(("#", "data:"))] == []
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_drawing_again_gives_the_same_files(drawn, tmp_path):
    folder, _summary = drawn
    records = runs() + runs("cpu-tuned", (1.0, 1.05, 1.1)) + runs("gpu-best", (0.02, 0.021, 0.022))
    draw(tmp_path, records, ["A note."])
    for name in ("index.html", "speedup.svg", "summary.md"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_hostile_texts_are_shown_as_text(tmp_path):
    hostile = Dataset(HOSTILE, True, "ab" * 32, 5000, 1000, [3, 32, 32], 10)
    draw(tmp_path, runs(dataset=hostile) + runs("cpu-tuned", (1.0, 1.1), dataset=hostile))
    page = Page((tmp_path / "index.html").read_text())
    assert page.tags.count("script") == 1  # our own, which sorts the table
    assert HOSTILE in page.text
    assert "<script>" not in (tmp_path / "summary.md").read_text().replace("\\<", "")


def test_synthetic_data_is_named_on_page_figure_and_text(tmp_path):
    synthetic = Dataset("synthetic (seed 1)", True, "ab" * 32, 50_000, 10_000, [3, 32, 32], 10)
    draw(tmp_path, runs(dataset=synthetic))
    for name in ("index.html", "summary.md"):
        assert "synthetic" in (tmp_path / name).read_text()
    assert "SYNTHETIC" in (tmp_path / "speedup.svg").read_text()


def test_published_times_are_scaled_to_the_images_of_an_epoch(drawn):
    _, summary = drawn
    small = replace(summary, dataset=replace(summary.dataset, train_images=5000))
    assert scaled_references(summary, PUBLISHED)[0].scaled_seconds == pytest.approx(82.47)
    assert scaled_references(small, PUBLISHED)[0].scaled_seconds == pytest.approx(8.247)


@pytest.mark.parametrize("count", [1, 60])
def test_draws_one_cell_and_many(tmp_path, count):
    records = [run for index in range(count) for run in runs(f"cpu-{index}", (1.0 + index, 1.1 + index))]
    draw(tmp_path, records)
    assert (tmp_path / "index.html").stat().st_size < 4 * 2**20


def test_no_output_speaks_of_percent_speedup(drawn):
    folder, _ = drawn
    for name in ("index.html", "summary.md", "speedup.svg"):
        assert not re.search(r"%\s*speed-?up", (folder / name).read_text(), re.IGNORECASE)


def test_a_diverged_cell_and_one_of_an_unknown_kind_are_on_the_page(tmp_path):
    losses = replace(runs()[0].training, epoch_losses=[2.2, None])
    diverged = [seal(replace(run, training=losses)) for run in runs("cpu-diverged")]
    foreign = runs("gpu-foreign@node7", (0.1, 0.1, 0.1), model="vit", precision="int8")
    draw(tmp_path, runs() + diverged + foreign)
    text = Page((tmp_path / "index.html").read_text()).text
    assert "A loss is not a number." in text
    assert "No tolerance is known for precision int8." in text


def test_the_samples_are_described_by_the_datas_own_classes(tmp_path):
    picture = tmp_path / "samples.png"
    matplotlib.image.imsave(picture, np.zeros((90, 34 * 7, 3)))
    seven = Dataset("seven kinds", False, "ab" * 32, 5000, 1000, [3, 28, 28], 7)
    draw(tmp_path, runs(dataset=seven), samples=picture)
    html = (tmp_path / "index.html").read_text()
    assert "a column for each of the 7 classes" in html
    assert 'width="238" height="90"' in html
    assert "airplane" not in html


def test_the_report_needs_no_torch():
    code = "import sys, epochbench.report.report, epochbench.report.comparison; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
