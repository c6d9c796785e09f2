from dataclasses import replace

import pytest
from unit.examples import assert_described, record, runs

from epochbench import messages
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.answer import failures
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.store import read_summary, schema, write_summary
from epochbench.aggregate.summary import Missing, Summary
from epochbench.aggregate.tables import epoch_table, summary_table, write_tables
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import Quarantined
from epochbench.timing.record import Code, Dataset, Peaks, seal

SETTINGS = Settings()
SLOW = runs("cpu-reference", (2.0, 2.1, 2.2))
TUNED = runs("cpu-tuned", (1.0, 1.05, 1.1))
GPU = runs("gpu-best", (0.02, 0.021, 0.022))
OTHER_DATA = Dataset("other", False, "cd" * 32, 5000, 1000, [3, 32, 32], 10)


def rows(records, **settings):
    return {row.cell: row for row in aggregate(records, Settings(**settings), []).cells}


def test_without_a_gpu_the_fastest_cpu_cell_leads():
    summary = aggregate(SLOW + TUNED, SETTINGS, ["No GPU was found on this machine, so no GPU was timed."])
    assert summary.headline.best == "cpu-tuned"
    first, second = summary.answer
    assert first == (
        "At their best, 8 A cores train this network 2.0 times as fast as with the code that people usually write."
    )
    assert second == (
        "On A CPU, 8 cores, cpu-tuned in fp32 trains 2.0x (1.8\N{EN DASH}2.2) as fast as cpu-reference in fp32: "
        "1.0 s an epoch against 2.1 s, 50 % less time. No GPU was found on this machine, so no GPU was timed."
    )


def test_with_a_gpu_it_leads_and_the_best_cpu_cell_is_said_beside_it():
    summary = aggregate(SLOW + TUNED + GPU, SETTINGS, [])
    assert summary.headline.best == "gpu-best"
    assert summary.headline.fair.cell == "cpu-tuned"
    assert summary.headline.fair.speedup.estimate == pytest.approx(50)
    assert f"Against the best CPU cell: {summary.headline.fair.sentence}" in summary.answer[1]
    assert "cpu-tuned" in summary.headline.fair.sentence


def test_the_headline_names_hardware_precision_and_devices_of_both_sides():
    four = runs("gpu-four", (0.01, 0.01, 0.01), precision="bf16", processes=4)
    assert aggregate(SLOW + four, SETTINGS, []).headline.sentence == (
        "4 x NVIDIA H200 in bf16 train 210x (190\N{EN DASH}240) as fast as A CPU, 8 cores, in fp32: "
        "10.0 ms an epoch (gpu-four) against 2.1 s (cpu-reference), 99.52 % less time."
    )


def test_a_ratio_at_equal_precision_stands_beside():
    fast = runs("gpu-bf16", (0.01, 0.01, 0.01), precision="bf16")
    halved = runs("cpu-bf16", (0.5, 0.5, 0.5), precision="bf16")
    leading = aggregate(SLOW + TUNED + halved + GPU + fast, SETTINGS, []).headline
    assert (leading.best, leading.fair.cell) == ("gpu-bf16", "cpu-bf16")
    pairs = [(one.precision, one.slow, one.fast, one.speedup.estimate) for one in leading.equal_precision]
    assert sorted(pairs) == [
        ("bf16", "cpu-bf16", "gpu-bf16", pytest.approx(50)),
        ("fp32", "cpu-tuned", "gpu-best", pytest.approx(50)),
    ]
    # In bf16 the fair comparison says it already.
    assert [one.sentence for one in leading.beside] == [
        "In fp32 on both sides, gpu-best trains 50x (45\N{EN DASH}56) as fast as cpu-tuned: "
        "21 ms an epoch against 1.0 s."
    ]


def test_a_ratio_at_equal_precision_stands_beside_on_a_cpu_alone():
    halved = runs("cpu-bf16", (0.5, 0.5, 0.5), precision="bf16")
    (one,) = aggregate(SLOW + TUNED + halved, SETTINGS, []).headline.equal_precision
    assert (one.precision, one.slow, one.fast) == ("fp32", "cpu-reference", "cpu-tuned")


def test_the_best_cpu_cell_is_the_fastest_even_where_that_is_the_baseline():
    slower = runs("cpu-slower", (4.0, 4.0, 4.0))
    assert aggregate(SLOW + slower + GPU, SETTINGS, []).headline.fair is None


def imported(cell, medians, **changes):
    """Runs as they come with an export of another machine."""
    here = runs(cell, medians, **changes)
    return [seal(replace(run, cell=replace(run.cell, cell=f"{cell}@node7"))) for run in here]


OTHER_CODE = Code("beef", None)
THEIRS = imported("gpu-best", (0.001, 0.001, 0.001), code=OTHER_CODE)


def test_an_import_never_leads_by_itself():
    theirs = THEIRS + imported("cpu-tuned", (0.1, 0.1, 0.1))
    summary = aggregate(SLOW + TUNED + theirs, SETTINGS, [])
    assert (summary.headline.best, summary.headline.fair) == ("cpu-tuned", None)
    assert not any("@" in rung.cell for rung in summary.ladder)
    found = {gate.gate: gate.sentence for gate in summary.cells[0].gates}["fair baseline"]
    assert "2.00 times" in found


def test_the_gate_says_what_holds_of_an_import():
    row = rows(SLOW + THEIRS)["gpu-best@node7"]
    (finding,) = [gate for gate in row.gates if gate.gate == "same data, same code"]
    assert finding.passed
    assert finding.sentence == "Its own runs agree. The baseline, timed elsewhere, has the same images and other code."
    alone = rows(THEIRS)["gpu-best@node7"]
    assert "there is no baseline" in {gate.gate: gate.sentence for gate in alone.gates}["same data, same code"]


def test_an_import_leads_where_the_config_names_it_and_the_difference_is_said():
    machine = replace(THEIRS[0].machine, torch="2.11", cuda="13.0")
    theirs = [seal(replace(run, machine=machine)) for run in THEIRS]
    leading = aggregate(SLOW + TUNED + theirs, Settings(best="gpu-best@node7"), []).headline
    assert (leading.baseline, leading.best, leading.fair.cell) == ("cpu-reference", "gpu-best@node7", "cpu-tuned")
    unlike = ", but with other timing code, torch 2.11 against 2.15 and CUDA 13.0 against none."
    assert leading.sentence.endswith(unlike)
    assert leading.fair.sentence.endswith(unlike)


def test_a_baseline_that_is_only_imported_leads_nothing_until_the_config_names_both():
    theirs = imported("cpu-reference", (2.0, 2.1, 2.2))
    summary = aggregate(GPU + theirs, SETTINGS, [])
    assert summary.headline is None
    assert "The baseline cpu-reference@node7 was not timed here" in summary.answer[1]
    named = aggregate(GPU + theirs, Settings(baseline="cpu-reference@node7", best="gpu-best"), [])
    assert (named.headline.baseline, named.headline.best) == ("cpu-reference@node7", "gpu-best")


@pytest.mark.parametrize(
    ("best", "reason"),
    [
        ("cpu-lost", "'cpu-lost' has no record"),
        ("cpu-wrong", "'cpu-wrong' failed a hard gate"),
        ("cpu-small-batch", "'cpu-small-batch' has other data, another network or another batch size"),
    ],
)
def test_a_named_cell_that_cannot_lead_is_said(best, reason):
    wrong = [replace(run, code=replace(run.code, commit="edited")) for run in runs("cpu-wrong", (0.1, 0.1, 0.1))]
    small = runs("cpu-small-batch", (0.5, 0.5, 0.5), batch_size=100)
    summary = aggregate(SLOW + TUNED + wrong + small, Settings(best=best), [])
    assert summary.headline is None
    assert any(reason in note for note in summary.notes)


def test_an_identical_cell_is_as_fast_as_the_baseline():
    twin = rows(SLOW + runs("cpu-twin", (2.0, 2.1, 2.2)))["cpu-twin"]
    assert twin.speedup.estimate == pytest.approx(1)
    assert twin.verdict == "AMBIGUOUS"


def test_results_of_other_data_are_in_no_ratio():
    row = rows(SLOW + runs("cpu-other", (0.1, 0.1, 0.1), dataset=OTHER_DATA))["cpu-other"]
    assert row.speedup is None
    assert "other data than the baseline" in row.flags
    summary = aggregate(SLOW + TUNED + runs("cpu-other", (0.1,), dataset=OTHER_DATA), SETTINGS, [])
    assert summary.headline.best == "cpu-tuned"


def test_another_network_or_batch_size_never_leads():
    small = runs("cpu-small-batch", (0.5, 0.5, 0.5), batch_size=100)
    large = runs("resnet-reference", (0.4, 0.4, 0.4), model="resnet18")
    summary = aggregate(SLOW + TUNED + small + large, SETTINGS, [])
    by_name = {row.cell: row for row in summary.cells}
    assert summary.headline.best == "cpu-tuned"
    assert "other batch size than the baseline" in by_name["cpu-small-batch"].flags


def test_another_network_has_its_own_baseline_the_first_of_its_cells():
    slow = runs("resnet-reference", (8.0, 8.0, 8.1), model="resnet18")
    fast = runs("resnet-tuned", (2.0, 2.0, 2.0), model="resnet18")
    by_name = rows(SLOW + TUNED + slow + fast)
    assert by_name["resnet-tuned"].baseline == by_name["resnet-reference"].baseline == "resnet-reference"
    assert by_name["resnet-tuned"].speedup.estimate == pytest.approx(4.0, rel=0.02)
    assert by_name["cpu-tuned"].baseline == "cpu-reference"


def test_the_distance_to_the_limit_is_the_epoch_over_its_floors():
    row = rows(SLOW)["cpu-reference"]
    seconds = row.epoch_seconds.estimate
    assert row.limit.times_fused_bound == pytest.approx(seconds / 0.2946)
    assert row.limit.times_operator_estimate == pytest.approx(seconds / 0.5)
    assert rows([replace(run, peaks=None, limit=None) for run in SLOW])["cpu-reference"].limit is None


def calibrated_to(made, flop_per_second, share=1.0):
    """The same runs, whose calibrations reached so much, disturbed ones a share of it."""
    peaks = Peaks({"fp32": flop_per_second * share}, 1e11, 1e6)
    floors = {"operator_estimate_seconds": 0.5 / share, "fused_bound_seconds": 0.2946 / share}
    return [seal(replace(run, peaks=peaks, limit=replace(run.limit, **floors, flop_per_epoch=294.6e9))) for run in made]


def test_one_machine_has_one_floor_whichever_run_was_disturbed():
    """A cell whose own calibration was disturbed once ran in 0.94 of what it was said to need at least."""
    slow = calibrated_to(SLOW, 1e12)
    fast = calibrated_to(runs("cpu-best", (0.45, 0.45, 0.46)), 1e12, share=0.6)
    by_name = rows([*slow, *fast])
    bounds = {row.limit.fused_bound_seconds for row in by_name.values()}
    assert len(bounds) == 1
    assert bounds.pop() == pytest.approx(0.2946)
    assert {row.limit.operator_estimate_seconds for row in by_name.values()} == {0.5}
    assert by_name["cpu-best"].limit.times_fused_bound > 1
    assert by_name["cpu-best"].valid


def test_a_run_is_judged_by_the_best_calibration_of_its_machine():
    right, low = calibrated_to(SLOW[:2], 1e12), calibrated_to(SLOW[2:], 1e12, share=0.01)
    assert not rows(low)["cpu-reference"].valid
    assert rows(right + low)["cpu-reference"].valid


def test_fewer_threads_have_floors_of_their_own():
    one = [
        seal(replace(run, conditions=replace(run.conditions, threads=1)))
        for run in calibrated_to(runs("cpu-one-thread", threads=1), 1e11)
    ]
    by_name = rows([*calibrated_to(SLOW, 1e12), *one])
    assert by_name["cpu-one-thread"].limit.fused_bound_seconds == pytest.approx(2.946)
    assert by_name["cpu-reference"].limit.fused_bound_seconds == pytest.approx(0.2946)


def test_energy_is_a_mean_over_epochs_and_unknown_where_one_run_is():
    told = [replace(run, conditions=replace(run.conditions, gpu_energy_joules=30.0)) for run in SLOW]
    assert rows(told)["cpu-reference"].gpu_joules_per_epoch == pytest.approx(10.0)
    assert rows([*told[:2], SLOW[2]])["cpu-reference"].gpu_joules_per_epoch is None
    assert rows(told)["cpu-reference"].cpu_joules_per_epoch is None


def test_synthetic_data_is_said_everywhere():
    synthetic = Dataset("synthetic (seed 1)", True, "ef" * 32, 50_000, 10_000, [3, 32, 32], 10)
    records = runs(dataset=synthetic) + runs("cpu-tuned", (1.0, 1.0, 1.1), dataset=synthetic)
    summary = aggregate(records, SETTINGS, [])
    assert all("synthetic data" in row.flags for row in summary.cells)
    assert "synthetic" in summary.answer[1]
    assert epoch_table(records)["synthetic"].all()


def test_few_runs_and_mixed_hardware_or_code_are_flagged():
    mixed = [record("cpu-mixed", 1), record("cpu-mixed", 2, machine=record("gpu-x").machine)]
    row = rows(SLOW + mixed)["cpu-mixed"]
    assert {"2 runs only", "gate failed: one kind of machine"} <= set(row.flags)
    assert not row.valid
    changed = runs("cpu-changed", code=type(SLOW[0].code)("beef", None))
    row = rows(SLOW + changed)["cpu-changed"]
    assert not row.valid
    assert "gate failed: same data, same code" in row.flags
    (finding,) = [gate for gate in row.gates if gate.gate == "same data, same code"]
    assert finding.sentence.startswith("1 different data fingerprints and 2 different code digests")


def test_a_missing_baseline_gives_times_without_ratios():
    summary = aggregate(TUNED, SETTINGS, [])
    assert summary.headline is None
    assert "no speedup" in summary.answer[0]
    assert any("'cpu-reference' has no record" in note for note in summary.notes)


def test_no_records_is_an_error_with_the_way_on():
    with pytest.raises(BenchmarkError, match="snakemake --cores all"):
        aggregate([], SETTINGS, [])


def test_the_tables_hold_every_timed_epoch_and_every_cell(tmp_path):
    records = SLOW + GPU
    summary = aggregate(records, SETTINGS, [])
    write_tables(tmp_path, records, summary)
    assert len(epoch_table(records)) == sum(len(run.timing.epoch_seconds) for run in records)
    table = summary_table(summary).set_index("cell")
    assert table.loc["gpu-best", "speedup_estimate"] == pytest.approx(100)
    assert table.loc["gpu-best", "minimum_seconds"] == pytest.approx(0.0198)
    assert {"epoch_seconds_low", "images_per_second", "verdict", "flags", "runs", "epochs"} <= set(table.columns)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epochs.csv", "summary.csv", "summary.json"]


def test_a_failed_hard_gate_keeps_a_cell_out_of_the_headline_and_is_told():
    wrong = [replace(run, code=replace(run.code, commit="edited")) for run in runs("cpu-wrong", (0.1, 0.1, 0.1))]
    summary = aggregate(SLOW + TUNED + wrong, SETTINGS, [])
    assert summary.headline.best == "cpu-tuned"
    assert "Left out because a hard gate failed: cpu-wrong." in summary.answer[1]
    assert failures(summary) == ["cpu-wrong: untouched: Its checksum is wrong: it was changed after the run."]


def test_a_broken_record_of_ones_own_fails_the_run_and_one_that_others_sent_is_only_told():
    own = Quarantined("results/train/cpu/cpu-a/run-1.json", "not readable")
    sent = Quarantined("export.zip: records/cpu-b/run-1.json", "its checksum is not the manifest's", imported=True)
    summary = aggregate(SLOW, SETTINGS, [], [own, sent])
    assert failures(summary) == ["results/train/cpu/cpu-a/run-1.json: not readable"]
    assert [file.file for file in summary.left_out] == [own.file, sent.file]


def test_the_runs_of_a_cell_are_found_wherever_they_stand():
    scattered = [SLOW[0], *TUNED, *SLOW[1:]]
    assert rows(scattered)["cpu-reference"].runs == 3


def test_a_wrong_baseline_is_nobodys_denominator():
    wrong = [replace(run, code=replace(run.code, commit="edited")) for run in SLOW]
    other = runs("resnet-reference", (8.0, 8.0, 8.1), model="resnet18")
    summary = aggregate(wrong + TUNED + other, SETTINGS, [])
    by_name = {row.cell: row for row in summary.cells}
    assert summary.headline is None
    for row in (by_name["cpu-reference"], by_name["cpu-tuned"]):
        assert (row.baseline, row.speedup, row.verdict) == (None, None, None)
        assert "no speedup, since cpu-reference failed a hard gate" in row.flags
    assert by_name["resnet-reference"].speedup.estimate == 1
    assert "The baseline 'cpu-reference' failed a hard gate, so there is no speedup over it." in summary.answer[1]


def test_a_baseline_far_behind_the_best_cpu_cell_is_a_warning():
    finding = {gate.gate: gate for gate in rows(SLOW + TUNED)["cpu-reference"].gates}["fair baseline"]
    assert (finding.passed, finding.severity) == (False, "soft")
    assert "2.00 times the best CPU cell" in finding.sentence
    finding = {gate.gate: gate for gate in rows(SLOW + GPU)["cpu-reference"].gates}["fair baseline"]
    assert finding.passed


def test_the_schema_and_the_dataclasses_have_the_same_keys():
    assert_described(Summary, schema())


def test_what_is_written_is_read_again(tmp_path):
    imported = [replace(run, cell=replace(run.cell, cell="gpu-best@node7")) for run in GPU]
    left_out = [Quarantined("a.json", "not readable")]
    failed = [Missing("cpu-lost", 1, "killed")]
    for records in (SLOW, SLOW + TUNED + GPU + imported):
        summary = aggregate(records, Settings(per_hour={"NVIDIA H200": 3.6}), ["A note."], left_out, failed)
        write_summary(tmp_path / "summary.json", summary)
        assert read_summary(tmp_path / "summary.json") == summary


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 1}'])
def test_what_is_no_summary_is_refused_by_name(tmp_path, text):
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(BenchmarkError, match=r"summary\.json: not (readable|a valid summary)"):
        read_summary(tmp_path / "summary.json")


def test_the_console_finds_the_answer_in_the_file(tmp_path):
    summary = aggregate(SLOW + TUNED + GPU, SETTINGS, [])
    write_summary(tmp_path / "summary.json", summary)
    assert messages.answer_lines(tmp_path / "summary.json") == summary.answer


def diverged(made):
    """The same runs with a last loss that is not a number, as records have it."""
    losses = [*made[0].training.epoch_losses[:-1], None]
    return [seal(replace(run, training=replace(run.training, epoch_losses=losses))) for run in made]


def test_a_diverged_cell_fails_its_own_gate_and_the_others_are_shown():
    summary = aggregate(SLOW + TUNED + diverged(runs("cpu-diverged", (0.5, 0.5, 0.5))), SETTINGS, [])
    row = {row.cell: row for row in summary.cells}["cpu-diverged"]
    assert row.final_loss is None
    assert failures(summary) == ["cpu-diverged: it learned: A loss is not a number."]
    assert summary.headline.best == "cpu-tuned"


@pytest.mark.parametrize("unknown", [{"model": "vit"}, {"precision": "int8"}, {"threads": "most"}])
def test_a_cell_of_a_kind_unknown_here_is_shown_and_not_judged(unknown):
    foreign = runs("cpu-foreign@node7", (0.5, 0.5, 0.5), **unknown)
    summary = aggregate(SLOW + TUNED + foreign, SETTINGS, [])
    row = {row.cell: row for row in summary.cells}["cpu-foreign@node7"]
    assert row.valid
    assert {finding.gate for finding in row.gates if finding.passed is None} & {"same arithmetic", "fair CPU"}
    assert failures(summary) == []


def test_the_numbers_of_a_summary_are_those_of_the_first_edition():
    """To twelve digits: the logarithm's last bit is the processor's."""
    slow, tuned, gpu = aggregate(SLOW + TUNED + GPU, SETTINGS, []).cells
    pinned = (
        (slow.epoch_seconds, (1.8641172742506318, 2.098411497124536, 2.3621533216221913)),
        (tuned.speedup, (1.7951792577270427, 2.0, 2.2281897380346183)),
        (gpu.speedup, (89.75896288635212, 99.99999999999996, 111.40948690173083)),
    )
    for interval, expected in pinned:
        assert (interval.low, interval.estimate, interval.high) == pytest.approx(expected, rel=1e-12)
    assert slow.relative_spread == pytest.approx(0.04761904761904766, rel=1e-12)
    assert tuned.images_per_second == pytest.approx(47655.09536000471, rel=1e-12)
    assert tuned.limit.times_operator_estimate == pytest.approx(2.098411497124536, rel=1e-12)
    assert (slow.median_seconds, slow.mean_seconds) == pytest.approx((2.1, 2.1), rel=1e-12)
    assert (gpu.minimum_seconds, gpu.final_loss, gpu.steps) == (0.0198, 2.0, 160)
