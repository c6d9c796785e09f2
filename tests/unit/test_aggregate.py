from dataclasses import replace

import pytest
from unit.examples import record, runs

from epochbench.aggregate import Settings, aggregate, answer, epoch_table, failures, summary_table, write_tables
from epochbench.errors import BenchmarkError
from epochbench.exchange import Quarantined
from epochbench.record import Dataset

SETTINGS = Settings()
SLOW = runs("cpu-reference", (2.0, 2.1, 2.2))
TUNED = runs("cpu-tuned", (1.0, 1.05, 1.1))
GPU = runs("gpu-best", (0.02, 0.021, 0.022))
OTHER_DATA = Dataset("other", False, "cd" * 32, 5000, 1000)


def rows(records, **settings):
    return {row["cell"]: row for row in aggregate(records, Settings(**settings), [])["cells"]}


def test_without_a_gpu_the_fastest_cpu_cell_leads():
    summary = aggregate(SLOW + TUNED, SETTINGS, ["No GPU was found on this machine, so no GPU was timed."])
    assert summary["headline"]["best"] == "cpu-tuned"
    first, second = answer(summary)
    assert first.startswith("cpu-reference 2.1 s, cpu-tuned 1.0 s an epoch: 2.0x (1.8")
    assert "50 % less time" in first
    assert second == "No GPU was found on this machine, so no GPU was timed."


def test_with_a_gpu_it_leads_and_the_best_cpu_cell_is_said_beside_it():
    summary = aggregate(SLOW + TUNED + GPU, SETTINGS, [])
    assert summary["headline"]["best"] == "gpu-best"
    assert summary["headline"]["fair"]["cell"] == "cpu-tuned"
    assert summary["headline"]["fair"]["speedup"]["estimate"] == pytest.approx(50)
    assert "Against the best CPU cell: cpu-tuned" in answer(summary)[1]


def test_an_identical_cell_is_as_fast_as_the_baseline():
    twin = rows(SLOW + runs("cpu-twin", (2.0, 2.1, 2.2)))["cpu-twin"]
    assert twin["speedup"]["estimate"] == pytest.approx(1)
    assert twin["verdict"] == "AMBIGUOUS"


def test_results_of_other_data_are_in_no_ratio():
    row = rows(SLOW + runs("cpu-other", (0.1, 0.1, 0.1), dataset=OTHER_DATA))["cpu-other"]
    assert row["speedup"] is None
    assert "other data than the baseline" in row["flags"]
    summary = aggregate(SLOW + TUNED + runs("cpu-other", (0.1,), dataset=OTHER_DATA), SETTINGS, [])
    assert summary["headline"]["best"] == "cpu-tuned"


def test_another_network_or_batch_size_never_leads():
    small = runs("cpu-small-batch", (0.5, 0.5, 0.5), batch_size=100)
    large = runs("resnet-reference", (0.4, 0.4, 0.4), model="resnet18")
    summary = aggregate(SLOW + TUNED + small + large, SETTINGS, [])
    found = {row["cell"]: row for row in summary["cells"]}
    assert summary["headline"]["best"] == "cpu-tuned"
    assert "other batch size than the baseline" in found["cpu-small-batch"]["flags"]


def test_another_network_has_its_own_baseline_the_first_of_its_cells():
    slow = runs("resnet-reference", (8.0, 8.0, 8.1), model="resnet18")
    fast = runs("resnet-tuned", (2.0, 2.0, 2.0), model="resnet18")
    found = rows(SLOW + TUNED + slow + fast)
    assert found["resnet-tuned"]["baseline"] == found["resnet-reference"]["baseline"] == "resnet-reference"
    assert found["resnet-tuned"]["speedup"]["estimate"] == pytest.approx(4.0, rel=0.02)
    assert found["cpu-tuned"]["baseline"] == "cpu-reference"


def test_the_distance_to_the_limit_is_the_epoch_over_its_floors():
    found = rows(SLOW)["cpu-reference"]
    seconds = found["epoch_seconds"]["estimate"]
    assert found["limit"]["times_fused_floor"] == pytest.approx(seconds / 0.3)
    assert found["limit"]["times_operator_floor"] == pytest.approx(seconds / 0.5)
    assert rows([replace(run, peaks=None, limit=None) for run in SLOW])["cpu-reference"]["limit"] is None


def test_energy_is_a_mean_over_epochs_and_unknown_where_one_run_is():
    told = [replace(run, conditions=replace(run.conditions, gpu_energy_joules=30.0)) for run in SLOW]
    assert rows(told)["cpu-reference"]["gpu_joules_per_epoch"] == pytest.approx(10.0)
    assert rows([*told[:2], SLOW[2]])["cpu-reference"]["gpu_joules_per_epoch"] is None
    assert rows(told)["cpu-reference"]["cpu_joules_per_epoch"] is None


def test_synthetic_data_is_said_everywhere():
    synthetic = Dataset("synthetic (seed 1)", True, "ef" * 32, 50_000, 10_000)
    records = runs(dataset=synthetic) + runs("cpu-tuned", (1.0, 1.0, 1.1), dataset=synthetic)
    summary = aggregate(records, SETTINGS, [])
    assert all("synthetic data" in row["flags"] for row in summary["cells"])
    assert "synthetic" in answer(summary)[1]
    assert epoch_table(records)["synthetic"].all()


def test_few_runs_and_mixed_hardware_or_code_are_flagged():
    mixed = [record("cpu-mixed", 1), record("cpu-mixed", 2, machine=record("gpu-x").machine)]
    row = rows(SLOW + mixed)["cpu-mixed"]
    assert {"2 runs only", "gate failed: one kind of machine"} <= set(row["flags"])
    assert not row["valid"]
    changed = runs("cpu-changed", code=type(SLOW[0].code)("beef", None))
    row = rows(SLOW + changed)["cpu-changed"]
    assert not row["valid"]
    assert "gate failed: same data, same code" in row["flags"]
    (finding,) = [gate for gate in row["gates"] if gate["gate"] == "same data, same code"]
    assert finding["sentence"].startswith("1 different data fingerprints and 2 different code digests")


def test_a_missing_baseline_gives_times_without_ratios():
    summary = aggregate(TUNED, SETTINGS, [])
    assert summary["headline"] is None
    assert "no speedup" in answer(summary)[0]
    assert any("'cpu-reference' has no record" in note for note in summary["notes"])


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
    assert summary["headline"]["best"] == "cpu-tuned"
    assert "Left out because a hard gate failed: cpu-wrong." in answer(summary)[1]
    assert failures(summary) == ["cpu-wrong: untouched: Its checksum is wrong: it was changed after the run."]


def test_a_broken_record_of_ones_own_fails_the_run_and_one_that_others_sent_is_only_told():
    own = Quarantined("results/train/cpu/cpu-a/run-1.json", "not readable")
    sent = Quarantined("export.zip: records/cpu-b/run-1.json", "its checksum is not the manifest's", imported=True)
    summary = aggregate(SLOW, SETTINGS, [], [own, sent])
    assert failures(summary) == ["results/train/cpu/cpu-a/run-1.json: not readable"]
    assert [file["file"] for file in summary["left_out"]] == [own.file, sent.file]


def test_the_runs_of_a_cell_are_found_wherever_they_stand():
    scattered = [SLOW[0], *TUNED, *SLOW[1:]]
    assert rows(scattered)["cpu-reference"]["runs"] == 3


def test_a_wrong_baseline_gives_no_headline():
    wrong = [replace(run, code=replace(run.code, commit="edited")) for run in SLOW]
    assert aggregate(wrong + TUNED, SETTINGS, [])["headline"] is None


def test_a_baseline_far_behind_the_best_cpu_cell_is_a_warning():
    found = {gate["gate"]: gate for gate in rows(SLOW + TUNED)["cpu-reference"]["gates"]}["fair baseline"]
    assert (found["passed"], found["severity"]) == (False, "soft")
    assert "2.00 times the best CPU cell" in found["sentence"]
    found = {gate["gate"]: gate for gate in rows(SLOW + GPU)["cpu-reference"]["gates"]}["fair baseline"]
    assert found["passed"]
