"""The page in a real browser: Debian's Chromium, driven by playwright; axe-core judges accessibility."""

import random
from dataclasses import replace

import pytest
from support import deep
from unit.examples import record, runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.store import read_summary, write_summary
from epochbench.aggregate.summary import Missing
from epochbench.aggregate.tables import epoch_table
from epochbench.records.exchange import Quarantined
from epochbench.report import cell_tables, machine_tables, ratio_tables, share
from epochbench.report.draw import draw_page
from epochbench.report.references import scaled_references
from epochbench.timing.record import Dataset, seal
from epochbench.unseen import visible

pytestmark = pytest.mark.xdist_group("browser")
PUBLISHED = [
    {"label": "Flux.jl 2021", "device": "gpu", "hardware": "GTX 1080", "seconds": 0.83, "images": 50_000,
     "statistic": "minimum", "source": "a post"},
]  # fmt: skip
HOSTILE = ["<script>alert(1)</script>", "x" * 400, "\u202eabc\u05d0\u05d1", "\U0001f600 & \"quotes\" 'n' more"]
LADDER = (
    runs("cpu-one-thread", (8.0, 8.1, 8.0), threads=1)
    + runs("cpu-reference", (4.0, 4.0, 4.1))
    + runs("cpu-best", (0.5, 0.51, 0.5), allocator="tuned")
)
OTHERS = (
    runs("cpu-keras", (0.8, 0.81, 0.8), framework="keras", allocator="tuned")
    + runs("cpu-jax", (5.0, 5.1, 5.0), framework="jax", execution="compile")
    + runs("gpu-jax", (0.01, 0.0101, 0.01), framework="jax", precision="tf32", execution="compile")
)
GPU = runs("gpu-reference", (0.2, 0.2, 0.2)) + runs("gpu-best", (0.0123, 0.0123, 0.0124), precision="tf32")


def many(count):
    chance = random.Random(1)
    return [run for number in range(count) for run in runs(f"cpu-{number}", [chance.uniform(1, 20)] * 3)]


def hostile():
    made = []
    for number, text in enumerate(HOSTILE):
        machine = replace(record().machine, node=text, cpu=text)
        dataset = Dataset(text[:400], True, "ab" * 32, 5000, 1000, [3, 32, 32], 10)
        made += [seal(replace(run, machine=machine, dataset=dataset)) for run in runs(f"cpu-{number}")]
    return made


WRONG = [replace(run, checksum="0" * 64) for run in runs("cpu-wrong", (1.0, 1.0, 1.0))]
SCENES = {
    "ladder": LADDER + GPU,
    "no-gpu": LADDER,
    "frameworks": LADDER + GPU + OTHERS,
    "one-cell": runs(),
    "many-cells": LADDER + many(200),
    "failed-gates": LADDER + WRONG,
    "hostile": hostile(),
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Draw every scene once; return each one's folder and summary."""
    drawn = {}
    for name, records in SCENES.items():
        folder = tmp_path_factory.mktemp(name)
        left_out = [Quarantined(f"{text}.json", text) for text in HOSTILE] if name == "hostile" else []
        failed = [Missing("cpu-lost", 2, HOSTILE[0])] if name == "hostile" else []
        baseline = "cpu-0" if name == "hostile" else "cpu-reference"
        summary = aggregate(records, Settings(baseline=baseline), [], left_out, failed)
        draw_page(summary, epoch_table(records), PUBLISHED, folder)
        write_summary(folder / "summary.json", summary)
        drawn[name] = folder, read_summary(folder / "summary.json")
    return drawn


@pytest.fixture
def show(open_file, scenes):
    """A function that opens a scene and returns its page and its summary."""

    def open_scene(name, **options):
        return open_file(scenes[name][0] / "index.html", **options), scenes[name][1]

    return open_scene


def column(page, name):
    heads = page.locator("table[data-tools] thead th").all_inner_texts()
    index = [head.strip() for head in heads].index(name)
    rows = page.locator("table[data-tools] tbody tr:visible")
    cells = [rows.nth(number).locator("th, td").nth(index) for number in range(rows.count())]
    return [cell.get_attribute("data-value") or cell.inner_text() for cell in cells]


@pytest.mark.parametrize("name", deep(SCENES, "many-cells"))
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(show, name, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page, _ = show(name, color_scheme=scheme)
    found = Axe().run(page).response["violations"]
    serious = [
        (wrong["id"], wrong["nodes"][0]["html"]) for wrong in found if wrong["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_scrolls_sideways(show, name, width):
    page, _ = show(name, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_headline_and_every_cell_read_as_the_summary_says(show):
    page, summary = show("ladder")
    assert page.locator("h1").inner_text() == summary.headline.plain
    assert summary.headline.sentence in page.locator("header").inner_text()
    assert summary.headline.fair.sentence in page.locator("main").inner_text()
    tiles = [tuple(tile.inner_text().split("\n")) for tile in page.locator(".ratios div").all()]
    assert tiles == [(ratio.against, f"{ratio.times} {ratio.interval}") for ratio in share.ratios(summary)]
    assert "GPU" in page.locator("main").inner_text()
    assert "epochs repay" in page.locator("main").inner_text() or "pays at once" in page.locator("main").inner_text()


def test_every_table_says_what_the_summary_says(show):
    """Walk every table of the page: its cells are the summary's numbers in words, none more and none less."""
    page, summary = show("ladder")
    expected_rows = [
        ratio_tables.rung_rows(summary), cell_tables.cell_rows(summary), cell_tables.failed_gate_rows(summary),
        cell_tables.settings_rows(summary), cell_tables.time_rows(summary), cell_tables.limit_rows(summary),
        machine_tables.peak_rows(summary), cell_tables.energy_rows(summary), cell_tables.gate_rows(summary),
        ratio_tables.replay_rows(summary), machine_tables.machine_rows(summary),
        machine_tables.difference_rows(summary),
        ratio_tables.reference_rows(scaled_references(summary, PUBLISHED)), machine_tables.code_rows(summary),
    ]  # fmt: skip
    texts = "rows => [...rows].map(row => [...row.cells].map(cell => (cell.dataset.value ?? cell.textContent).trim()))"
    shown = page.evaluate(f"[...document.querySelectorAll('table')].map(table => ({texts})(table.tBodies[0].rows))")
    assert shown == [[list(row.values()) for row in rows] for rows in expected_rows]


def test_the_table_is_sorted_by_value_and_not_by_text(show):
    page, summary = show("ladder")
    fastest_first = [row.cell for row in cell_tables.fastest_first(summary)]
    head = page.get_by_role("button", name="epoch", exact=True)
    head.click()
    assert column(page, "cell") == fastest_first  # 12.3 ms before 2 s
    head.click()
    assert column(page, "cell") == fastest_first[::-1]
    assert page.locator("th[aria-sort=descending]").count() == 1


def test_the_table_is_filtered_and_says_how_much_is_left(show):
    page, _ = show("ladder")
    page.get_by_label("Filter").fill("gpu")
    assert set(column(page, "device")) == {"GPU"}
    assert page.locator(".tools [role=status]").inner_text() == "2 of 5 rows"
    page.get_by_label("Filter").fill("memory kept")
    assert column(page, "cell") == ["cpu-best"]
    page.get_by_label("Filter").fill("")
    assert len(column(page, "cell")) == 5


@pytest.mark.parametrize(
    ("button", "first"), [("Copy as CSV", '"cell","device"'), ("Copy as Markdown", "| cell | device")]
)
def test_the_table_is_copied(show, button, first):
    page, summary = show("ladder", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name=button).click()
    page.get_by_text("Copied.").wait_for()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(first)
    assert all(row.cell in text for row in summary.cells)


def test_without_javascript_it_is_a_plain_table(show):
    page, _ = show("ladder", java_script_enabled=False)
    assert page.locator("table[data-tools] tbody tr").count() == 5
    assert not page.locator(".tools").first.is_visible()


def test_hostile_strings_are_shown_as_text(show):
    page, _ = show("hostile")
    page.locator("section details summary").click()
    text = page.locator("main").inner_text()
    for hostile_text in HOSTILE[:1] + HOSTILE[2:]:
        assert visible(" ".join(hostile_text.split())) in " ".join(text.split())


def test_failures_stand_on_the_page(show):
    page, _ = show("hostile")
    missing = page.locator(".missing").first.inner_text()
    assert "cpu-lost, run 2" in missing
    page.locator("section details summary").click()
    missing += page.locator(".missing").last.inner_text()
    assert missing.count("was left out") == len(HOSTILE)
    page, _ = show("failed-gates")
    assert "FAILED" in page.locator("main").inner_text()
    assert "cpu-wrong" not in page.locator("h1").inner_text()
    assert "Left out because a hard gate failed: cpu-wrong." in page.locator("header").inner_text()


def test_every_picture_has_words(show):
    page, _ = show("ladder")
    for width, form in ((1280, "wide"), (360, "narrow")):
        page.set_viewport_size({"width": width, "height": 800})
        pictures = [each for each in page.locator("figure[role=img]").all() if each.is_visible()]
        assert [each.get_attribute("class") for each in pictures] == [form] * 2
        assert all(len(each.get_attribute("aria-label")) > 40 for each in pictures)


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_the_first_screen_holds_the_sentence_the_ratios_what_was_compared_and_the_figures_top(show, size):
    page, summary = show("ladder", viewport=dict(zip(("width", "height"), size, strict=True)))
    seen = [page.locator("h1"), *page.locator(".ratios div").all(), page.locator(".second").first]
    assert len(seen) == 4
    for part in seen:
        assert part.bounding_box()["y"] + part.bounding_box()["height"] <= size[1]
    figure = page.locator("figure.wide" if size[0] > 700 else "figure.narrow").first.bounding_box()
    assert figure["y"] + 60 < size[1]
    assert summary.headline.sentence == page.locator(".second").first.inner_text()


def test_a_page_with_frameworks_answers_within_a_screen_and_leads_to_its_part(show):
    page, summary = show("frameworks", viewport={"width": 1280, "height": 800})
    for sentence in summary.frameworks.sentences:
        box = page.locator("header").get_by_text(sentence).bounding_box()
        assert box["y"] + box["height"] <= 800
    page.get_by_role("link", name="Which framework").click()
    assert page.locator("#frameworks").bounding_box()["y"] < 200
    assert set(column(page, "framework")) == {"PyTorch", "JAX", "Keras on TensorFlow"}


def test_figures_are_dark_in_the_dark(show):
    page, _ = show("ladder", color_scheme="dark")
    drawn = page.locator("figure.wide svg").first
    colours = drawn.evaluate("svg => [...svg.querySelectorAll('path, use')].map(each => getComputedStyle(each).fill)")
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper != "rgb(255, 255, 255)"
    assert paper in colours  # the figure's own ground
    assert "rgb(255, 255, 255)" not in colours
    assert "rgb(34, 34, 34)" not in colours


def test_a_timed_epoch_says_which_it_is(show):
    page, summary = show("ladder")
    titles = page.locator("figure.wide svg title").all_text_contents()
    told = [title for title in titles if ": run " in title]
    assert len(told) == sum(row.epochs for row in summary.cells)
    assert "CPU, memory kept: run 1, epoch 1, 500 ms" in told


def test_experts_parts_are_folded_open_by_a_link_and_open_in_print(show):
    page, _ = show("ladder")
    parts = page.locator("details")
    assert parts.count() >= 8
    assert page.locator("details[open]").count() == 0
    page.evaluate("location.hash = '#energy'")
    page.locator("details[open]#energy").wait_for()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details[open]").count() == parts.count()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 1


def test_numbers_stand_under_each_other_by_their_points(show):
    page, _ = show("ladder")
    points = page.evaluate(
        """() => { const table = document.querySelector('table[data-tools]');
        const column = [...table.tHead.rows[0].cells].findIndex(head => head.textContent === 'epoch');
        const point = row => row.cells[column].querySelector('.fraction').getBoundingClientRect().x;
        return [...table.tBodies[0].rows].map(point) }"""
    )
    assert len(points) == 5
    assert max(points) - min(points) < 0.5


def test_two_hundred_cells_stay_small(scenes):
    assert (scenes["many-cells"][0] / "index.html").stat().st_size < 4 * 2**20


def test_it_prints(show, tmp_path):
    page, _ = show("ladder")
    page.pdf(path=tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").stat().st_size > 10_000
