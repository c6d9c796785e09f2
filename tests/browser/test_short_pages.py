"""The pages of compare and history in a real browser: as open to everybody as the page itself."""

import pytest
from unit.examples import runs

from epochbench.aggregate.compare import compare
from epochbench.aggregate.history import read_history
from epochbench.aggregate.outcome import conclude
from epochbench.aggregate.settings import Settings
from epochbench.records.exchange import write_export
from epochbench.report.comparison import write_comparison, write_history

pytestmark = pytest.mark.xdist_group("browser")
SERIOUS = ("serious", "critical")


def measured(factor=1.0):
    typed = runs("cpu-reference", [factor * each for each in (4.0, 4.1, 4.2)])
    tuned = runs("cpu-best", (1.0, 1.01, 1.02), allocator="tuned")
    return typed + tuned + runs("gpu-best", [each / factor for each in (0.2, 0.21, 0.22)], precision="tf32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    comparisons = compare(measured(), measured(1.5), Settings(), 0.05)
    write_comparison(comparisons, conclude(comparisons, [], 0.05, "pass"), "base.zip", folder)
    paths = [folder / f"some-node-{number}.zip" for number in range(1, 6)]
    for number, path in enumerate(paths, start=1):
        write_export(measured(1 + number / 10), path, f"2026-0{number}-01T00:00:00+00:00")
    write_history(read_history(list(map(str, paths)), {"cpu-best": "our own words"}), folder)
    return folder


@pytest.mark.parametrize("name", ["comparison", "history"])
def test_nobody_is_shut_out_of_it_and_it_fits_a_phone(open_file, folder, name):
    from axe_playwright_python.sync_playwright import Axe

    for scheme in ("light", "dark"):
        page = open_file(folder / f"{name}.html", color_scheme=scheme, viewport={"width": 360, "height": 740})
        found = Axe().run(page).response["violations"]
        serious = [(wrong["id"], wrong["nodes"][0]["html"]) for wrong in found if wrong["impact"] in SERIOUS]
        assert serious == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert page.locator("figure.narrow svg").is_visible()
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    colours = "svg => [...svg.querySelectorAll('path, use')].map(each => getComputedStyle(each).fill)"
    drawn = page.locator("figure.narrow svg").evaluate(colours)
    assert paper in drawn
    assert "rgb(255, 255, 255)" not in drawn
