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
from epochbench.timing.record import Dataset, seal

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
    assert first.startswith("cpu-reference 2.1 s, cpu-tuned 1.0 s an epoch: 2.0x (1.8")
    assert "50 % less time" in first
    assert second == "No GPU was found on this machine, so no GPU was timed."


def test_with_a_gpu_it_leads_and_the_best_cpu_cell_is_said_beside_it():
    summary = aggregate(SLOW + TUNED + GPU, SETTINGS, [])
    assert summary.headline.best == "gpu-best"
    assert summary.headline.fair.cell == "cpu-tuned"
    assert summary.headline.fair.speedup.estimate == pytest.approx(50)
    assert "Against the best CPU cell: cpu-tuned" in summary.answer[1]


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
    assert row.limit.times_fused_floor == pytest.approx(seconds / 0.3)
    assert row.limit.times_operator_floor == pytest.approx(seconds / 0.5)
    assert rows([replace(run, peaks=None, limit=None) for run in SLOW])["cpu-reference"].limit is None


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


def test_a_wrong_baseline_gives_no_headline():
    wrong = [replace(run, code=replace(run.code, commit="edited")) for run in SLOW]
    assert aggregate(wrong + TUNED, SETTINGS, []).headline is None


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
    assert tuned.limit.times_operator_floor == pytest.approx(2.098411497124536, rel=1e-12)
    assert (slow.median_seconds, slow.mean_seconds) == pytest.approx((2.1, 2.1), rel=1e-12)
    assert (gpu.minimum_seconds, gpu.final_loss, gpu.steps) == (0.0198, 2.0, 160)
