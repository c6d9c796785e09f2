import json
import math
from dataclasses import replace

import numpy as np
import pytest
from unit.examples import BASE, record, runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.compare import compare, judge_together
from epochbench.aggregate.contrast import contrast, ratio_of
from epochbench.aggregate.history import read_history
from epochbench.aggregate.moderated import moderated
from epochbench.aggregate.outcome import STATUSES, conclude, refuse
from epochbench.aggregate.settings import Settings
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import Quarantined, write_export
from epochbench.report.comparison import history_rows, render_console, write_comparison, write_history
from epochbench.stats import speedup, typical_epoch
from epochbench.timing.record import Code, Dataset, Stack, seal

SETTINGS = Settings()
THRESHOLD = 0.05
OLD = (
    runs("cpu-reference", (2.0, 2.01, 2.02)) + runs("cpu-tuned", (1.0, 1.01, 1.0)) + runs("cpu-best", (0.5, 0.5, 0.51))
)
OTHER_DATA = Dataset("other", False, "cd" * 32, 50_000, 10_000, [3, 32, 32], 10)


def compared(before, now):
    return {one.cell: one for one in compare(before, now, SETTINGS, THRESHOLD)}


def concluded(before, now, left_out=(), when_unsure="pass"):
    return conclude(compare(before, now, SETTINGS, THRESHOLD), left_out, THRESHOLD, when_unsure)


def slower(records, factor, cell="cpu-tuned"):
    """Return the records, those of one cell with times that are so many times longer, and none of them the same run."""
    changed = []
    for one in records:
        times = [value * (factor if one.cell.cell == cell else 1.001) for value in one.timing.epoch_seconds]
        changed.append(record(one.cell.cell, one.run, times))
    return changed


def test_each_cell_is_faster_slower_the_same_new_or_missing():
    now = (
        runs("cpu-reference", (1.0, 1.01, 1.0)) + runs("cpu-tuned", (1.5, 1.51, 1.5)) + runs("cpu-new", (1.0, 1.0, 1.1))
    )
    found = compared(OLD, now)
    assert {name: one.verdict for name, one in found.items()} == {
        "cpu-reference": "FASTER", "cpu-tuned": "SLOWER", "cpu-new": "NEW", "cpu-best": "MISSING",
    }  # fmt: skip
    assert (found["cpu-new"].note, found["cpu-best"].note) == ("not in the base", "not here")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_export_is_the_same_as_itself_however_it_spreads(count):
    wide = runs("cpu-reference", (2.0, 3.0, 4.0)[:count]) + runs("cpu-tuned", (1.0, 2.0, 1.5)[:count])
    found = compared(wide, wide)
    assert {one.verdict for one in found.values()} == {"SAME"}
    outcome = concluded(wide, wide, when_unsure="fail")
    assert (outcome.word, outcome.status) == ("same", 0)


def test_runs_that_both_sides_share_are_said():
    added = [*OLD, *[replace(run, run=4) for run in runs("cpu-tuned", (1.02,))]]
    assert compared(OLD, list(map(seal, added)))["cpu-tuned"].note == "3 of the runs in common"


def test_a_regression_is_named_with_its_status():
    outcome = concluded(OLD, slower(OLD, 1.5))
    assert (outcome.word, outcome.status) == ("regression", STATUSES["regression"])
    assert "cpu-tuned 0.667x" in outcome.sentence
    with pytest.raises(BenchmarkError, match="regression: slower than compare.threshold, 0.05, allows: cpu-tuned"):
        refuse(outcome)


def test_a_slowdown_within_the_threshold_is_no_regression():
    steady = [run for cell in ("a", "b", "c") for run in runs(f"cpu-{cell}", (1.0, 1.001, 0.999))]
    now = slower(steady, 1.03, cell="cpu-a")
    assert compared(steady, now)["cpu-a"].verdict == "SLOWER"
    outcome = concluded(steady, now)
    assert (outcome.word, outcome.status) == ("same", 0)
    refuse(outcome)


def test_a_missing_cell_is_not_passed_over():
    outcome = concluded(OLD, [run for run in OLD if run.cell.cell != "cpu-best"])
    assert (outcome.word, outcome.status) == ("missing", STATUSES["missing"])
    assert "cpu-best (not here)" in outcome.sentence


def test_a_new_cell_is_no_loss_unless_there_is_nothing_else():
    assert concluded(OLD, OLD + runs("cpu-new")).word == "same"
    assert concluded(OLD[:0], OLD).word == "missing"
    with pytest.raises(BenchmarkError, match="no record on either side"):
        compare([], [], SETTINGS, THRESHOLD)


@pytest.mark.parametrize("broken_side", ["in the base", "here"])
def test_a_cell_that_failed_a_hard_gate_on_either_side_is_invalid(broken_side):
    wrong = [seal(replace(run, evidence=replace(run.evidence, parameters_moved=0.5))) for run in OLD]
    before, now = (wrong, OLD) if broken_side == "in the base" else (OLD, wrong)
    found = compared(before, now)["cpu-tuned"]
    assert (found.verdict, found.ratio, found.note) == ("INVALID", None, f"gate failed {broken_side}: work done")
    outcome = concluded(before, now)
    assert (outcome.word, outcome.status) == ("invalid", STATUSES["invalid"])


def test_a_broken_record_makes_a_comparison_invalid():
    outcome = concluded(OLD, OLD, [Quarantined("run-1.json", "no JSON")])
    assert (outcome.word, outcome.status) == ("invalid", STATUSES["invalid"])
    assert "run-1.json: no JSON" in outcome.sentence


def test_too_noisy_to_decide_passes_or_fails_as_the_config_says():
    noisy = runs("cpu-tuned", (1.1, 1.3, 0.8))
    before = runs("cpu-tuned", (1.0, 0.8, 1.2))
    passed, failed = (concluded(before, noisy, when_unsure=choice) for choice in ("pass", "fail"))
    assert (passed.word, passed.status) == ("unsure", 0)
    assert (failed.word, failed.status) == ("unsure", STATUSES["unsure"])
    assert concluded(before[:1], noisy[:1], when_unsure="fail").word == "unsure"


def test_a_slowdown_that_may_hide_in_the_noise_is_never_called_the_same():
    """Whatever the noise, a comparison is the same only where a slowdown beyond the threshold is ruled out."""
    steady = [run for cell in ("a", "b", "c") for run in runs(f"cpu-{cell}", (1.0, 1.001, 0.999))]
    assert concluded(steady, slower(steady, 1.0, cell="cpu-a")).word == "same"
    loose = [run for cell in ("a", "b", "c") for run in runs(f"cpu-{cell}", (1.0, 1.1, 0.9))]
    assert concluded(loose, slower(loose, 1.0, cell="cpu-a")).word == "unsure"


def test_the_exit_statuses_are_told_apart_and_none_is_anothers():
    failing = [status for word, status in STATUSES.items() if word not in ("same", "faster")]
    assert len(set(failing)) == len(failing)
    assert not {0, 1, 2} & set(failing)
    assert STATUSES["same"] == STATUSES["faster"] == 0


def test_other_data_and_other_settings_are_not_compared():
    data = compared(OLD, [seal(replace(run, dataset=OTHER_DATA)) for run in OLD])["cpu-tuned"]
    assert (data.verdict, data.note) == ("MISSING", "trained on other data")
    settings = compared([record("cpu-a", 1)], [record("cpu-a", 1, batch_size=100)])["cpu-a"]
    assert (settings.verdict, settings.note) == ("MISSING", "the cell sets something else")


def test_other_machine_code_and_versions_are_noted():
    machine = replace(BASE.machine, fingerprint="ffff", torch="2.11", cuda="12.8")
    then = runs("cpu-tuned", (1.0, 1.01, 1.02), machine=machine, code=Code("beef", None))
    found = compared(then, runs("cpu-tuned", (1.0, 1.02, 1.01)))["cpu-tuned"]
    assert found.note == "other machine, other timing code, other torch 2.11 -> 2.15, other CUDA 12.8 -> none"


def test_a_stack_that_the_record_describes_is_compared_fact_by_fact():
    old, new = (Stack(cudnn, {"torch": "2.15", "cuDNN": cudnn}) for cudnn in ("9.1", "9.5"))
    then, now = runs("cpu-tuned", (1.0, 1.01, 1.02), stack=old), runs("cpu-tuned", (1.005, 1.02, 1.03), stack=new)
    assert compared(then, now)["cpu-tuned"].note == "other cuDNN 9.1 -> 9.5"


def test_the_page_and_the_console_tell_the_outcome_and_what_could_have_been_found(tmp_path):
    now = slower(OLD, 1.5)
    comparisons, outcome = compare(OLD, now, SETTINGS, THRESHOLD), concluded(OLD, now)
    text = "\n".join(render_console(comparisons, outcome, "somewhere/base.zip"))
    assert text.startswith("Against base.zip")
    assert "Outcome: regression: " in text
    assert "A slowdown of " in text
    assert "would be found 8 times in 10." in text
    write_comparison(comparisons, outcome, "base.zip", tmp_path)
    assert "would be found 8 times in 10" in (tmp_path / "comparison.md").read_text()
    page = (tmp_path / "comparison.html").read_text()
    assert "<table" in page
    assert "Outcome: regression: " in page
    told = json.loads((tmp_path / "comparison.json").read_text())
    assert (told["outcome"], told["status"], told["base"]) == ("regression", 3, "base.zip")
    assert {"cell", "label", "verdict", "ratio", "smallest_slowdown", "note"} == set(told["cells"][0])


def test_a_single_run_could_have_shown_no_slowdown():
    comparisons = compare(runs("cpu-a", (1.0,)), runs("cpu-a", (1.1,)), SETTINGS, THRESHOLD)
    outcome = conclude(comparisons, [], THRESHOLD, "pass")
    assert "No slowdown would be found in cpu-a" in "\n".join(render_console(comparisons, outcome, "base.zip"))


def test_more_runs_and_less_spread_find_smaller_slowdowns():
    def smallest(count, spread):
        random = np.random.default_rng(1)
        sides = ([one for cell in range(8) for one in runs(f"cpu-{cell}", np.exp(random.normal(0, spread, count)))]
                 for _ in range(2))  # fmt: skip
        found = compare(*sides, SETTINGS, THRESHOLD)
        return float(np.median([one.smallest_slowdown for one in found]))

    assert smallest(3, 0.05) > smallest(10, 0.05) > THRESHOLD
    assert smallest(3, 0.05) > smallest(3, 0.02) > THRESHOLD
    assert math.isclose(smallest(10, 0.0001), THRESHOLD, rel_tol=0.1)


def test_the_pages_verdicts_are_passed_on_all_cells_together():
    """What its own interval shows of a cell, at 95 %, is not shown among many; what is far beyond chance still is."""
    baseline = runs("cpu-reference", (1.0, 1.01, 0.99))
    close, far = runs("cpu-close", (0.955, 0.945, 0.965)), runs("cpu-far", (0.1, 0.101, 0.099))
    twins = [one for cell in range(11) for one in runs(f"cpu-twin-{cell}", (1.0, 1.02, 0.98))]
    rows = {row.cell: row for row in aggregate([*baseline, *close, *far, *twins], SETTINGS, []).cells}
    assert rows["cpu-close"].speedup.low > 1.02
    assert {name: rows[name].verdict for name in ("cpu-reference", "cpu-close", "cpu-far")} == {
        "cpu-reference": "SAME", "cpu-close": "AMBIGUOUS", "cpu-far": "FASTER",
    }  # fmt: skip


def history(tmp_path, **exports):
    """Return the rows of the history of exports, which were made a month after each other."""
    for month, (name, records) in enumerate(exports.items(), start=1):
        write_export(records, tmp_path / f"{name}.zip", f"2026-0{month}-01T00:00:00+00:00")
    read = read_history([str(tmp_path / f"{name}.zip") for name in reversed(exports)])
    write_history(read, tmp_path)
    return history_rows(read)


def test_a_history_tells_every_cell_in_every_export_oldest_first(tmp_path):
    rows = history(tmp_path, old=runs("cpu-a", (4.0, 4.0, 4.0)) + runs("cpu-b"), new=runs("cpu-a", (2.0, 2.0, 2.0)))
    assert [row["cell"] for row in rows] == ["cpu-a", "cpu-b"]
    assert rows[0]["old, 2026-01-01"] == "4.00 s"
    assert rows[0]["new, 2026-02-01"] == "2.00 s"
    assert rows[0]["newest / oldest"].startswith("2.00x")
    assert (rows[1]["new, 2026-02-01"], rows[1]["newest / oldest"]) == ("", "")
    assert "<svg" in (tmp_path / "history.html").read_text()
    table = (tmp_path / "history.md").read_text()
    assert table.index("old, 2026-01-01") < table.index("new, 2026-02-01")
    with pytest.raises(BenchmarkError, match="make history"):
        read_history([])


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"machine": replace(BASE.machine, fingerprint="ffff", node="node2")}, "other machine"),
        ({"dataset": OTHER_DATA}, "other data"),
        ({"protocol": replace(BASE.protocol, optimizer="adam")}, "other optimiser"),
        ({"protocol": replace(BASE.protocol, residency="host")}, "images elsewhere when the clock started"),
        ({"batch_size": 100}, "the cell sets something else"),
    ],
)
def test_a_history_never_divides_times_of_other_machines_data_or_settings(tmp_path, changes, note):
    rows = history(tmp_path, old=runs("cpu-a", (4.0, 4.0, 4.1)), new=runs("cpu-a", (2.0, 2.0, 2.1), **changes))
    assert [row["newest / oldest"] for row in rows] == ["", ""]
    assert [row["note"] for row in rows] == ["", note]


def test_a_history_goes_on_within_its_series_after_another_machine(tmp_path):
    elsewhere = replace(BASE.machine, fingerprint="ffff", node="node2", cpu="Another CPU")
    rows = history(
        tmp_path,
        january=runs("cpu-a", (4.0, 4.0, 4.1)),
        february=runs("cpu-a", (1.0, 1.0, 1.1), machine=elsewhere),
        march=runs("cpu-a", (2.0, 2.0, 2.1)),
    )
    assert [row["machine"] for row in rows] == ["A CPU, 8 cores (node1)", "Another CPU, 8 cores (node2)"]
    assert [row["newest / oldest"][:4] for row in rows] == ["1.98", ""]
    assert rows[0]["february, 2026-02-01"] == ""


def test_a_history_notes_other_code_and_versions_beside_the_ratio(tmp_path):
    then = runs("cpu-a", (4.0, 4.0, 4.1), machine=replace(BASE.machine, torch="2.11"), code=Code("beef", None))
    (row,) = history(tmp_path, old=then, new=runs("cpu-a", (2.0, 2.0, 2.1)))
    assert row["newest / oldest"].startswith("1.98x")
    assert row["note"] == "other timing code, other torch 2.11 -> 2.15"


def test_a_history_takes_the_spread_from_the_first_runs_and_the_confidence_from_the_settings(tmp_path):
    medians = (2.0, 2.0, 2.01, 2.5, 2.6, 2.4)
    then, now = (
        [seal(replace(run, first_runs=3)) for run in runs("cpu-a", [factor * each for each in medians])]
        for factor in (1.0, 1.1)
    )
    history(tmp_path, old=then, new=now)
    read = read_history([str(tmp_path / f"{name}.zip") for name in ("old", "new")], Settings(confidence=0.9))
    sides = ([run.timing.epoch_seconds for run in side] for side in (then, now))
    assert read.series[0].overall == speedup(*sides, 0.9, (3, 3))
    assert read.series[0].points[0][1] == typical_epoch([run.timing.epoch_seconds for run in then], 0.9, 3)


def test_a_history_leaves_out_cells_that_failed_a_hard_gate_and_says_so(tmp_path):
    wrong = [seal(replace(run, evidence=replace(run.evidence, parameters_moved=0.5))) for run in runs("cpu-a")]
    (row, _) = history(tmp_path, old=runs("cpu-a") + runs("cpu-b"), new=wrong + runs("cpu-b"))
    assert (row["new, 2026-02-01"], row["newest / oldest"]) == ("", "")
    assert "Left out: new, 2026-02-01: cpu-a: hard gate failed: " in (tmp_path / "history.html").read_text()
    with pytest.raises(BenchmarkError, match=r"new\.zip: no record that counts \(.*cpu-a: hard gate failed"):
        history(tmp_path, new=wrong)


def test_two_exports_of_one_name_and_day_have_a_column_each(tmp_path):
    (tmp_path / "sub").mkdir()
    for folder, seconds in ((tmp_path, 4.0), (tmp_path / "sub", 2.0)):
        write_export(runs("cpu-a", (seconds,) * 3), folder / "a.zip", "2026-01-01T00:00:00+00:00")
    (row,) = history_rows(read_history([str(tmp_path / "a.zip"), str(tmp_path / "sub" / "a.zip")]))
    assert (row["a, 2026-01-01"], row["a, 2026-01-01 (2)"]) == ("4.00 s", "2.00 s")


def test_cells_of_one_label_are_told_apart_and_each_line_is_counted(tmp_path):
    both = runs("cpu-a") + runs("cpu-twin") + runs("cpu-once", batch_size=10)
    elsewhere = replace(BASE.machine, fingerprint="ffff", node="node2")
    history(tmp_path, old=both, new=runs("cpu-a") + runs("cpu-twin"), last=runs("cpu-a", machine=elsewhere))
    read = read_history([str(tmp_path / f"{name}.zip") for name in ("old", "new", "last")])
    assert len({one.label for one in read.series}) == 3
    assert "2 of 4 lines would have a single point" in (tmp_path / "history.html").read_text()


def test_what_the_threshold_calls_a_regression_is_never_the_same():
    """A change of 1.5 % is noise on the page, and not for somebody who asked for 1 %."""
    before = runs("cpu-a", (2.0, 2.0001, 2.0002))
    (found,) = compare(before, runs("cpu-a", (2.03, 2.0301, 2.0302)), SETTINGS, 0.01)
    assert found.verdict == "SLOWER"
    assert conclude([found], [], 0.01, "pass").word == "regression"


def test_unequal_numbers_of_runs_are_judged_cautiously_before_the_cells_lend_their_spread():
    """Welch's degrees of freedom lean on the side with twenty runs, of sheets of equal cells 7 % were regressions."""
    random = np.random.default_rng(1)
    sides = (
        [np.exp(random.normal(0, spread, (count, 1))).tolist() for count in (3, 20)] for spread in (0.01, 0.1, 0.2)
    )
    pairs = {str(place): contrast(*pair) for place, pair in enumerate(sides)}
    found = judge_together(pairs, SETTINGS, THRESHOLD)
    expected = [ratio_of(pair, 0.95) for pair in moderated([replace(pair, freedom=2.0) for pair in pairs.values()])]
    assert [one.ratio for one in found.values()] == expected


def test_a_cell_that_was_trained_by_another_optimiser_is_not_compared():
    other = [seal(replace(one, protocol=replace(one.protocol, optimizer="adam"))) for one in OLD[:3]]
    found = compared(OLD[:3], other)["cpu-reference"]
    assert (found.verdict, found.note) == ("MISSING", "trained by another optimiser")
    mixed = aggregate(OLD[:3] + [replace(one, cell=replace(one.cell, cell="cpu-adam")) for one in other], SETTINGS, [])
    assert mixed.notes == []
    assert aggregate(other, SETTINGS, []).notes[0].startswith("The weights are updated by adam, where the published")
    assert (mixed.cells[1].speedup, mixed.cells[1].flags[0]) == (None, "other optimiser than the baseline")
