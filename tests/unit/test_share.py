"""What is sent on says what the summary says, and only that."""

import re
from dataclasses import replace
from itertools import combinations
from xml.etree import ElementTree

import matplotlib.image
import matplotlib.pyplot as plt
import pytest
from unit.examples import BASE, H200, runs, tried

from epochbench import wording
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.report import card as card_file
from epochbench.report.card import card, draw_card
from epochbench.report.figure import marks_in_words
from epochbench.report.share import question, ratios, render_badge, two_lines
from epochbench.report.style import themed
from epochbench.timing.record import Dataset, seal

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


def test_what_must_be_said_goes_along_wherever_it_is_sent(tmp_path):
    wrong = [replace(run, checksum="0" * 64) for number in range(5) for run in runs(f"cpu-wrong-{number}", (1.0,))]
    disturbed = [tried(1, 4.0, "others took 3 cores"), tried(2, 4.1, "others took 3 cores")]
    tuned = runs("cpu-tuned", (2.0, 2.1), allocator="tuned")
    made_up = replace(BASE.dataset, synthetic=True)
    made = [seal(replace(run, dataset=made_up)) for run in disturbed + tuned]
    summary = aggregate(made + wrong, Settings(), ["No GPU was found on this machine, so no GPU was timed."])
    draw_card(summary, [tmp_path / "card.svg"])
    for text in (" ".join(" ".join(drawn_texts(tmp_path / "card.svg")).split()), two_lines(summary)[1]):
        assert "failed: cpu-wrong-0, cpu-wrong-1, cpu-wrong-2 and 2 more." in text
        assert "Disturbed by other work: runs 2 of cpu-reference" in text
        assert "No GPU was found on this machine" in text
        assert "synthetic" in text


def test_a_long_name_is_cut_on_the_card_and_a_number_never():
    machine = replace(BASE.machine, cpu="wide " * 80)
    cpu = runs("cpu-reference", (4.0, 4.3, 4.1), machine=machine) + runs("cpu-tuned", (2.0, 2.1), machine=machine)
    gpu = runs("gpu-best", (0.0123, 0.0125), machine=replace(machine, gpu=replace(H200, name="W" * 400)))
    own = {"cpu-reference": "W" * 60, "cpu-tuned": "WM" * 30, "gpu-best": "M" * 60}
    made = aggregate(cpu + gpu, Settings(labels=own), ["\u7f51" * 300])
    with themed():
        drawn = card(made)
        renderer = drawn.canvas.get_renderer()
        texts = [*drawn.texts, *drawn.axes[0].texts]
        boxes = [text.get_window_extent(renderer) for text in texts]
        plt.close(drawn)
    said = " ".join(text.get_text() for text in texts)
    for each in (made.headline.speedup, made.headline.fair.speedup):
        assert f"({wording.bounds(each)})" in said
    for row in made.cells:
        assert f": {wording.interval_seconds(row.epoch_seconds)} in fp32" in said
    assert [box for box in boxes if box.x0 < 0 or box.x1 > 1200 or box.y0 < 0 or box.y1 > 630] == []
    assert [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])] == []


def test_the_question_is_the_one_that_was_measured():
    asked = {name: question(aggregate(records, Settings(), [])) for name, records in SCENES.items()}
    assert asked["gpu"] == "How much faster does this GPU train than this CPU?"
    assert asked["no gpu"] == asked["one cell"] == "How much faster does this CPU train at its best? No GPU was timed."
    assert two_lines(aggregate(CPU, Settings(), []))[1].endswith("No GPU was timed.")
    cards = runs("gpu-reference", (0.1, 0.1)) + GPU
    assert question(aggregate(cards, Settings(baseline="gpu-reference"), [])) == (
        "How much faster does this GPU train at its best?"
    )
    picked = aggregate(CPU, Settings(best="cpu-tuned"), [])
    assert question(picked).startswith("How much faster does this CPU train when it is used otherwise?")


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
    for text in (marks_in_words(made), card_file._footer(made)):
        assert ("95 % intervals" in text) == (len(medians) > 1)
