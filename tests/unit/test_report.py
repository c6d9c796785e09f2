import math
import os
import re
import runpy
import subprocess
import sys
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
from support import REPOSITORY
from unit.examples import BASE, runs

from epochbench import wording
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.summary import Missing
from epochbench.aggregate.tables import epoch_table
from epochbench.report import cell_tables, ratio_tables
from epochbench.report.draw import draw_page
from epochbench.report.figure import row_labels
from epochbench.report.lettering import drawn_names
from epochbench.report.machine_tables import machine_rows
from epochbench.report.page import Pictures, render_page
from epochbench.report.references import scaled_references
from epochbench.report.style import Figure, on_page, phone_rows, row_above, themed
from epochbench.report.templating import template
from epochbench.report.waterfall import draw_waterfall
from epochbench.sheets import read_cells
from epochbench.timing.cell import DEFAULTS
from epochbench.timing.record import Dataset, Gpu, seal
from epochbench.unseen import visible

HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")

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


def runs_of(cell):
    """Return two runs of a cell of a sheet, named after it and on its device."""
    settings = {name: getattr(cell, name) for name in DEFAULTS}
    return runs(cell.cell, (1.0, 1.1), **settings)


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


def test_a_column_of_cuda_stands_only_where_some_machine_has_it():
    host = [seal(replace(one, machine=replace(one.machine, cuda=None))) for one in runs()]
    card = [seal(replace(one, machine=replace(one.machine, cuda="13.0"))) for one in runs("gpu-best", (0.1, 0.11))]
    told = [machine_rows(aggregate(records, Settings(), [])) for records in (host, host + card)]
    assert [[row.get("CUDA") for row in rows] for rows in told] == [[None], ["none", "13.0"]]


def test_hostile_texts_are_shown_as_text(tmp_path):
    hostile = Dataset(HOSTILE, True, "ab" * 32, 5000, 1000, [3, 32, 32], 10)
    draw(tmp_path, runs(dataset=hostile) + runs("cpu-tuned", (1.0, 1.1), dataset=hostile))
    page = Page((tmp_path / "index.html").read_text())
    assert page.tags.count("script") == 1  # our own, which sorts the table
    assert HOSTILE.replace("\N{RIGHT-TO-LEFT OVERRIDE}", "") in page.text
    assert "<script>" not in (tmp_path / "summary.md").read_text().replace("\\<", "")


def test_what_cannot_be_seen_is_nowhere(tmp_path):
    unseen = "a\x01b\u202ec\u2028d\x9be\u200bf\ud800"
    gpu = Gpu(unseen, 1, unseen, None)
    machine = replace(BASE.machine, cpu=unseen, node=unseen, gpu=None)
    data = Dataset(unseen, False, "ab" * 32, 50_000, 10_000, [3, 32, 32], 10)
    made = runs(dataset=data, machine=machine)
    made += runs("gpu-best", (0.02, 0.021, 0.022), dataset=data, machine=replace(machine, gpu=gpu))
    draw(tmp_path, made, [f"A note of {unseen}."])
    for path in tmp_path.iterdir():
        if path.suffix in (".svg", ".html", ".txt", ".md"):
            text = path.read_text()
            wrong = {letter for letter in text if unicodedata.category(letter) in HIDDEN} - {"\n"}
            assert (path.name, wrong) == (path.name, set())
        if path.suffix == ".svg":
            ElementTree.parse(path)
    assert "one ab" in (tmp_path / "card.txt").read_text().lower()


@pytest.mark.parametrize("number", range(0, 0x110000, 0x22000))
def test_every_character_that_unicode_hides_is_known(number):
    letters = map(chr, range(number, number + 0x22000))
    hidden = [letter for letter in letters if unicodedata.category(letter) in HIDDEN]
    assert [letter for letter in hidden if visible(f"a{letter}b") not in ("ab", "a b")] == []


def test_rows_that_are_cut_alike_are_told_apart_in_every_form():
    sheet = [
        ("the same long words of a cell, which go on until they are cut " * 4 + end, f"cpu-{end}") for end in "abc"
    ]
    for inches, points, most in ((2.6, 9.2, 4), (2.0, 9, 3), (3.0, 8, 3)):
        names = drawn_names([*sheet, ("short", "cpu-short")], inches, points, most)
        assert names == ["cpu-a", "cpu-b", "cpu-c", "short"]
    far = [(f"{'x' * 400}{end}", f"{'y' * 400}{end}") for end in "ab"]
    assert [name[:2] for name in drawn_names(far, 2.0, 9, 2)] == ["1:", "2:"]
    assert drawn_names([("bf16", "a"), ("bf16", "b")], 2.0, 9, 2) == ["bf16", "bf16"]


def test_every_row_of_a_sweep_is_drawn_in_other_words():
    sweep = [run for cell in read_cells(REPOSITORY / "config" / "sweep.tsv") for run in runs_of(cell)]
    summary = aggregate(sweep, Settings(baseline=sweep[0].cell.cell), [])
    long = [replace(row, label=f"{'many words of one cell ' * 9}{place}") for place, row in enumerate(summary.cells)]
    for rows in (summary.cells, long):
        assert len(set(row_labels(rows))) == len(rows)


def test_letters_that_the_font_lacks_leave_a_phones_figure_its_room():
    names = [("\u7f51\u7edc" * 30, "cpu-a"), ("short", "cpu-b")]
    with themed():
        figure, axes, lines = phone_rows(names, ["1.23 s, 4.5x"] * 2)
        for position, name in enumerate(lines):
            row_above(axes, position, name, "1.23 s, 4.5x", "#000000")
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()
        left, right, *_ = [text.get_window_extent(renderer) for text in axes.texts]
        plt.close(figure)
    assert axes.get_position().width > 0.8
    assert left.x1 < right.x0


def test_the_colours_of_a_hatched_bar_are_the_pages_too():
    cells = runs("cpu-reference", (1.0, 1.0, 1.0)) + runs("cpu-tuned", (2.0, 2.0, 2.0), allocator="tuned")
    best = runs("cpu-best", (0.5, 0.5, 0.5), allocator="tuned", memory_format="channels_last")
    figure = draw_waterfall(aggregate(cells + best, Settings(), []), [])
    assert "<pattern" in figure.wide
    for svg in figure:
        assert re.findall(r'[:"] ?#[0-9a-f]{6}\b', on_page(svg, "x")) == []


def test_a_hundred_and_fifty_losses_leave_the_figure_where_it_is(tmp_path):
    wrong = [replace(run, checksum="0" * 64) for number in range(150) for run in runs(f"cpu-{number}", (1.0,))]
    summary = aggregate(runs() + wrong, Settings(), [], [], [Missing(f"cpu-lost-{n}", 1, "why") for n in range(150)])
    assert "Left out because a hard gate failed: cpu-0, cpu-1, cpu-2 and 147 more." in summary.answer[1]
    assert "150 runs failed: cpu-lost-0, cpu-lost-1, cpu-lost-2 and 147 more." in summary.notes
    html = render_page(summary, PUBLISHED, Pictures(Figure("<svg/>", "<svg/>")))
    above, _, folded = html[: html.index("<figure")].partition("<details>")
    assert above.count("cpu-lost-") == 6  # three in the note, three in the list
    assert "147 more" in folded
    assert folded.count("cpu-lost-") == 147


def test_only_a_column_of_cells_is_said_in_words():
    macro = template("macros.html.j2").module.table
    rows = [{"estimator": "cpu-a", "cell": "cpu-a"}]
    assert "in words" not in macro(rows, "title", labels={"cpu-a": "in words"})
    assert "in words<small>cpu-a" in macro([{"cell": "cpu-a"}], "title", labels={"cpu-a": "in words"})


def test_a_rate_has_the_digits_of_its_interval():
    (row,) = aggregate(runs(medians=(1.0, 1.6, 2.4)), Settings(), []).cells
    assert wording.digits_supported(row.epoch_seconds) == 1
    assert cell_tables.cell_rows(aggregate(runs(medians=(1.0, 1.6, 2.4)), Settings(), []))[0]["images/s"] == "30,000"


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


def test_published_times_stand_beside_no_other_work(tmp_path):
    """Somebody's own network, or other images, have nothing to do with what was published."""
    of_mine = draw(tmp_path, runs(model="mine.py:network"))
    assert scaled_references(of_mine, PUBLISHED) == []
    assert "Flux" not in (tmp_path / "index.html").read_text() + (tmp_path / "summary.md").read_text()


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


def test_the_figure_of_the_readme_says_what_the_readme_says(tmp_path, capsys):
    runpy.run_path(str(REPOSITORY / "benchmarks" / "readme_figure.py"))["main"](str(tmp_path / "speedup.svg"))
    plain = capsys.readouterr().out
    drawn, readme = (tmp_path / "speedup.svg").read_text(), " ".join((REPOSITORY / "README.md").read_text().split())
    assert "643x (584\N{EN DASH}707)" in drawn
    assert "is 643 times as fast (584 to 707) as the CPU reference" in readme
    assert "130 times as fast (110 to 160) as the best CPU cell" in readme
    assert "trains this network 643 times as fast as 16 Intel Xeon cores as people use them, and 130 times" in plain


def test_the_report_needs_no_torch():
    code = "import sys, epochbench.report.report, epochbench.report.comparison; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
