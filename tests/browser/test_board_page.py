"""The board's page in a real browser: nobody is shut out, nothing is asked of others, and it sorts by values."""

import pytest
from unit.examples import measured

from epochbench.aggregate.board import find_exports, read_board
from epochbench.aggregate.settings import Settings
from epochbench.records.exchange import write_export
from epochbench.report.board import write_board
from epochbench.timing.record import Dataset

pytestmark = pytest.mark.xdist_group("browser")
HOSTILE = "<script>alert(1)</script>" + "x" * 300
OTHER = Dataset("other", False, "cd" * 32, 50_000, 10_000, [3, 32, 32], 10)
EXPORTS = (
    measured(),
    measured(0.01, started="2025-12-31", gpu="NVIDIA H300"),
    measured(2.0, started="2025-06-09", node=HOSTILE, gpu=HOSTILE),
    measured(dataset=OTHER),
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    for number, records in enumerate(EXPORTS):
        write_export(records, folder / f"{number}.zip", "2026-01-01")
    (folder / "<b>refused.zip").write_bytes(b"no export")
    write_board(read_board(find_exports([str(folder)]), Settings(), frozenset()), folder)
    return folder / "board.html"


@pytest.fixture
def show(open_file, page_file):
    """A function that opens the board."""

    def open_board(fragment="", **options):
        return open_file(page_file, fragment, **options)

    return open_board


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out_of_the_board(show, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = show(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    found = Axe().run(page).response["violations"]
    assert [(wrong["id"], wrong["nodes"][0]["html"]) for wrong in found] == []


@pytest.mark.parametrize("width", [360, 1280])
def test_the_board_does_not_scroll_sideways(show, width):
    page = show(viewport={"width": width, "height": 800})
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_board_is_sorted_by_date_and_by_time_and_an_address_is_marked(show):
    page = show()
    rows = page.locator("table[data-tools] tbody tr")

    def column(name):
        head = page.locator("table[data-tools]").get_by_role("button", name=name, exact=True)
        head.click()
        place = head.evaluate("button => button.parentElement.cellIndex")
        return [rows.nth(number).locator("th, td").nth(place).inner_text() for number in range(rows.count())]

    assert column("measured") == ["2025-06-09", "2025-12-31", "2026-01-02"]
    assert column("epoch") == ["125 \N{MICRO SIGN}s", "12.5 ms", "25.0 ms"]
    address = rows.nth(1).locator("a").inner_text()
    page = show(address)
    marked = "row => getComputedStyle(row.querySelector('td')).backgroundColor"
    link = page.locator("table[data-tools] tbody tr", has_text=address)
    others = page.locator("table[data-tools] tbody tr").filter(has_not_text=address).first
    assert link.evaluate(marked) != others.evaluate(marked)
