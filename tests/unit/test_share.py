"""What is sent on says what the summary says, and only that."""

import re
from xml.etree import ElementTree

import matplotlib.image
import pytest
from unit.examples import runs

from epochbench import wording
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.report import card
from epochbench.report.card import draw_card
from epochbench.report.figure import marks_in_words
from epochbench.report.share import ratios, render_badge, two_lines
from epochbench.timing.record import Dataset

CPU = runs("cpu-reference", (4.0, 4.3, 4.1)) + runs("cpu-tuned", (2.0, 2.1, 2.05), allocator="tuned")
GPU = runs("gpu-best", (0.0123, 0.0125, 0.0121), precision="bf16")
MADE_UP = Dataset("stand-in <&> $x$", True, "ab" * 32, 5000, 1000, [3, 32, 32], 10)
SCENES = {
    "gpu": CPU + GPU,
    "no gpu": CPU,
    "one cell": runs(),
    "one run": runs("cpu-reference", (4.0,)) + runs("gpu-best", (0.5,)),
    "synthetic": runs("cpu-reference", (4.0, 4.1), dataset=MADE_UP) + runs("gpu-best", (1.0,) * 3, dataset=MADE_UP),
}  # fmt: skip


@pytest.fixture(params=SCENES)
def summary(request):
    return aggregate(SCENES[request.param], Settings(), ["A note of 7 words."])


def numbers(text):
    return re.findall(r"\d[\d,]*(?:\.\d+)?", text)


def drawn_texts(path):
    """Return the texts of an SVG of matplotlib's, which draws them as paths and names each in a comment."""
    return [re.sub(r"&#45;", "-", text) for text in re.findall(r"<!-- (.*?) -->", path.read_text(), re.DOTALL)]


def allowed(summary):
    """Return every number that the answer may say: from the summary alone, by the words of tables and sentences."""
    rows = summary.cells
    told = [*summary.answer, *summary.notes, summary.dataset.name, str(summary.code[0].digest), *map(str, (95,))]
    told += [wording.count(summary.dataset.train_images)]
    told += [text for row in rows for text in (wording.interval_seconds(row.epoch_seconds), row.label, row.hardware)]
    told += [row.settings.precision for row in rows] + [row.cell for row in rows]
    if summary.headline:
        intervals = [summary.headline.speedup, *([summary.headline.fair.speedup] if summary.headline.fair else [])]
        told += [wording.ratio_with_interval(each) for each in intervals]
    return {number for text in told for number in numbers(text)}


def test_every_number_of_card_badge_and_text_is_the_summarys(summary, tmp_path):
    draw_card(summary, [tmp_path / "card.png", tmp_path / "card.svg"])
    texts = {
        "card": drawn_texts(tmp_path / "card.svg"),
        "badge": list(ElementTree.fromstring(render_badge(summary)).itertext()),
        "text": two_lines(summary),
    }
    for name, lines in texts.items():
        assert lines, name
        assert {number for line in lines for number in numbers(line)} <= allowed(summary), name
    assert " ".join(two_lines(summary)[0].split()) in " ".join(" ".join(texts["card"]).split())
    for ratio in ratios(summary):
        assert ratio.times in texts["card"]
        assert ratio.times in " ".join(texts["text"])


def test_the_card_has_the_size_that_is_shown(summary, tmp_path):
    draw_card(summary, [tmp_path / "card.png"])
    assert matplotlib.image.imread(tmp_path / "card.png").shape[:2] == (630, 1200)


def test_both_ratios_stand_beside_what_they_are_over():
    made = aggregate(SCENES["gpu"], Settings(), [])
    assert [(each.times, each.against) for each in ratios(made)] == [
        (wording.ratio(made.headline.speedup), "as fast as CPU, as typed"),
        (wording.ratio(made.headline.fair.speedup), "as fast as the best CPU cell"),
    ]
    assert ratios(aggregate(SCENES["one cell"], Settings(), [])) == []


def test_synthetic_images_and_single_runs_are_said_wherever_it_is_sent():
    made = aggregate(SCENES["synthetic"], Settings(), [])
    assert "synthetic images" in two_lines(made)[1]
    assert "synthetic images" in render_badge(made)
    assert "no interval" in two_lines(aggregate(SCENES["one run"], Settings(), []))[1]


def test_a_badge_says_what_was_compared_and_is_well_formed(summary):
    badge = ElementTree.fromstring(render_badge(summary))
    title = next(badge.itertext()).strip() or badge[0].text
    assert title.startswith("epochbench: ")
    assert ("as fast as" in title) == (summary.headline is not None)


def test_the_two_lines_name_the_headlines_own_sides_whichever_is_faster():
    made = aggregate(CPU + runs("gpu-reference", (8.0, 8.1, 8.2)), Settings(), [])
    assert made.headline.best == "gpu-reference"
    assert "8.10 s in fp32 against 4.13 s in fp32 an epoch" in two_lines(made)[1]


@pytest.mark.parametrize("medians", [(2.0,), (2.0, 2.1, 2.2)])
def test_intervals_are_announced_only_where_there_are_some(medians):
    made = aggregate(runs("cpu-reference", medians) + runs("cpu-best", medians), Settings(), [])
    for text in (marks_in_words(made), card._footer(made)):
        assert ("95 % intervals" in text) == (len(medians) > 1)
