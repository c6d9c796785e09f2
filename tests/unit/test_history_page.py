from itertools import pairwise

from unit.examples import runs

from epochbench.aggregate.history import read_history
from epochbench.records.exchange import write_export
from epochbench.report.comparison import write_history
from epochbench.report.history import narrow, wide
from epochbench.report.style import PROPERTIES, SERIES, as_svg, themed


def contrast_with_white(colour):
    """Return the contrast ratio of WCAG 2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 1.05 / (sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)


def test_a_history_speaks_the_sheets_words_and_keeps_its_lines_apart(tmp_path):
    cells = [runs("cpu-a", (4.0, 4.0)), runs("cpu-b", (3.0, 3.0)), runs("cpu-best", (1.0, 1.0), allocator="tuned")]
    one = runs("cpu-once", (2.0, 2.0), layers="pool_first")
    paths = [str(tmp_path / f"a-node-with-a-long-name-{month}.zip") for month in range(1, 7)]
    for month, path in enumerate(paths, start=1):
        extra = one if month == 1 else []
        records = [run for cell in cells for run in cell] + extra
        write_export(records, path, f"2026-0{month}-01T00:00:00+00:00")
    read = read_history(paths, {"cpu-best": "our own words"})
    assert [each.label for each in read.series] == [
        "CPU, as typed (cpu-a)", "CPU, as typed (cpu-b)", "our own words", "CPU, pooled before ReLU",
    ]  # fmt: skip
    write_history(read, tmp_path / "results" / "report")
    html = (tmp_path / "results" / "report" / "history.html").read_text()
    assert "1 of 4 lines would have a single point" in html
    assert "our own words<small>cpu-best</small>" in html
    for colour in SERIES[:3]:
        assert f"{PROPERTIES[colour]}: {colour};" in html
        assert f"stroke: var(--{PROPERTIES[colour]})" in html
        assert (contrast_with_white(colour) >= 4.5, colour) == (True, colour)
    with themed():
        for drawn in (wide(read), narrow(read)):
            as_svg(drawn, keep=True)
            renderer = drawn.canvas.get_renderer()
            labels = [text for text in drawn.axes[0].get_xticklabels() if text.get_text()]
            boxes = [text.get_window_extent(renderer) for text in labels]
            assert len(boxes) == 6
            assert [pair for pair in pairwise(boxes) if pair[0].overlaps(pair[1])] == []


def test_a_cell_of_several_settings_is_said_by_each_in_a_history(tmp_path):
    for number, changes in enumerate(({}, {"batch_size": 100}), start=1):
        write_export(runs("cpu-a", (4.0, 4.0), **changes), tmp_path / f"{number}.zip", f"2026-0{number}-01")
    series = read_history([str(tmp_path / f"{number}.zip") for number in (1, 2)], {"cpu-a": "ours"}).series
    assert [one.label for one in series] == ["CPU, as typed", "CPU, batches of 100"]
