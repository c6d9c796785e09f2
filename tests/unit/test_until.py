"""Training until a test accuracy: apart from the timed epochs, bounded, and what was not reached is said."""

import math
from dataclasses import replace

import pytest
from unit.examples import record, runs, tried

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.store import read_summary, write_summary
from epochbench.aggregate.tables import summary_table
from epochbench.records import gates
from epochbench.records.store import read_record, write_record
from epochbench.report.accuracy_tables import accuracy_rows, accuracy_sentences
from epochbench.report.markdown import render_markdown
from epochbench.timing import until
from epochbench.timing.cell import Cell
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import UntilAccuracy, seal
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)
UNTIL = replace(SHORT, until_accuracy=0.5, until_epochs=30)


def trained(manifest, protocol=UNTIL, run=1, **cell):
    values = {"cell": "a", "device": "cpu", "batch_size": 50} | cell
    return run_cell(Task(Cell(**values), run, protocol, manifest, threads=1))


def test_a_run_trains_until_its_accuracy_and_its_timed_epochs_are_as_without(manifest, tmp_path):
    made, without = trained(manifest), trained(manifest, SHORT)
    found = made.until_accuracy
    assert without.until_accuracy is None
    assert (made.training.epoch_losses, made.training.test_accuracy) == (
        without.training.epoch_losses, without.training.test_accuracy,
    )  # fmt: skip
    assert made.evidence.counted_images == 1000
    assert found.reached
    assert all(accuracy < 0.5 for accuracy in found.test_accuracies[:-1])
    assert found.test_accuracies[-1] >= 0.5
    assert 1 < len(found.epoch_seconds) == len(found.test_accuracies) < 30
    assert found.counted_images == 500 * len(found.epoch_seconds)
    assert found.evaluation_seconds > 0
    assert gates.work_done(made)[0] is True
    write_record(tmp_path / "run-1.json", made)
    assert read_record(tmp_path / "run-1.json") == made


def test_every_run_begins_with_weights_of_its_own_and_training_again_is_the_same(manifest):
    short = replace(UNTIL, until_accuracy=1.0, until_epochs=2, min_epochs=1, max_epochs=1)
    curves = [trained(manifest, short, run, batch_size=250).until_accuracy for run in (1, 1, 2)]
    assert [each.seed for each in curves] == [2021, 2021, 2022]
    assert curves[0].test_accuracies == curves[1].test_accuracies != curves[2].test_accuracies
    assert [(each.reached, len(each.epoch_seconds)) for each in curves] == [(False, 2)] * 3


def test_a_loss_that_is_no_number_is_not_waited_for(manifest):
    made = trained(manifest, replace(UNTIL, learning_rate=1e30))
    assert (made.until_accuracy.reached, len(made.until_accuracy.epoch_seconds)) == (False, 1)


def test_batches_left_out_on_the_way_are_noticed(manifest, monkeypatch):
    honest = until.time_epoch
    monkeypatch.setattr(until, "time_epoch", lambda step, batches, device: honest(step, batches[::2], device))
    passed, said = gates.work_done(trained(manifest, replace(UNTIL, until_epochs=2)))
    assert (passed, said) == (False, "Until the accuracy 500 images were trained on, 1000 asked.")


@pytest.mark.parametrize(("readings", "joules"), [([2.0, 3.0], 5.0), ([2.0, None], None), ([0.0, 0.0], None)])
def test_an_energy_that_no_counter_told_is_unknown_and_never_nothing(readings, joules):
    assert until._sum_if_known(readings) == joules


def asked(records, seconds, missed=(), accuracy=0.4, joules=None, others=0.01):
    """Return the records with a training of ten epochs each, of so many seconds, some of them in vain."""
    return [
        seal(
            replace(
                one,
                protocol=Protocol(until_accuracy=accuracy, until_epochs=10),
                until_accuracy=UntilAccuracy(
                    accuracy, one.run not in missed, 2020 + one.run, [each / 10] * 10, [0.1] * 9 + [0.41],
                    500_000, 1.5, joules, 2.0, others,
                ),
            )
        )
        for one, each in zip(records, seconds, strict=True)
    ]  # fmt: skip


SLOW, FAST = (20.0, 21.0, 22.0), (2.0, 2.1, 2.2)


def summarised(*cells):
    return aggregate([one for cell in cells for one in cell], Settings(), [])


def test_seconds_until_an_accuracy_have_an_interval_over_the_runs_and_a_ratio():
    summary = summarised(asked(runs(), SLOW), asked(runs("gpu-best", FAST), (2.0, 2.2, 2.1), joules=30.0))
    base, gpu = (row.to_accuracy for row in summary.cells)
    assert (base.seconds.low, base.seconds.high) == pytest.approx((18.6, 23.7), rel=0.01)
    assert base.seconds.estimate == pytest.approx(math.prod(SLOW) ** (1 / 3))
    assert (gpu.runs, gpu.reached, gpu.epochs, gpu.gpu_joules, gpu.cpu_joules) == (3, 3, 10, 30.0, 2.0)
    assert gpu.speedup.low < gpu.speedup.estimate < gpu.speedup.high
    assert gpu.speedup.estimate == pytest.approx(10)
    assert base.speedup.estimate == 1
    first, second = accuracy_sentences(summary)
    assert first == "To 40 % test accuracy, CPU, as typed (cpu-reference) trains 21 s (10 epochs)."
    assert second == (
        "To 40 % test accuracy, GPU, as typed (gpu-best) trains 2.1 s (10 epochs), "
        "10x (8.9\N{EN DASH}11) as fast as cpu-reference."
    )
    rows = accuracy_rows(summary)
    assert [row["cell"] for row in rows] == ["gpu-best", "cpu-reference"]
    assert [row["GPU energy"] for row in rows] == ["30.0 J", "unknown"]


def test_a_run_that_missed_it_is_said_and_never_dropped(tmp_path):
    summary = summarised(asked(runs(), SLOW, missed=[3]), asked(runs("gpu-best", FAST), FAST))
    base, gpu = (row.to_accuracy for row in summary.cells)
    assert (base.runs, base.reached) == (3, 2)
    assert (base.seconds.low, base.seconds.high) == (None, None)
    assert base.seconds.estimate == pytest.approx(math.prod(SLOW) ** (1 / 3))
    assert base.speedup is gpu.speedup is None
    said = (
        "1 of 3 runs of cpu-reference did not reach 40 % test accuracy within 10 epochs: how long it takes is known "
        "from below alone."
    )
    assert said in summary.notes
    assert said in summary.answer[1]
    rows = {row["cell"]: row for row in accuracy_rows(summary)}
    assert (rows["cpu-reference"]["training"], rows["cpu-reference"]["reached by"]) == (
        "more than 21.0 s",
        "2 of 3 runs",
    )
    text = render_markdown(summary)
    assert "it takes more than 21.0 s of training" in text
    assert "| 2 of 3 runs |" in text
    write_summary(tmp_path / "summary.json", summary)
    assert read_summary(tmp_path / "summary.json") == summary
    assert list(summary_table(summary)["to_accuracy_reached"]) == [2, 3]


@pytest.mark.parametrize("other", [{"accuracy": 0.5}, {}])
def test_what_was_asked_otherwise_or_not_at_all_is_in_no_ratio(other):
    best = runs("gpu-best", FAST)
    summary = summarised(asked(runs(), SLOW), asked(best, FAST, **other) if other else best)
    gpu = summary.cells[1].to_accuracy
    assert gpu is None if not other else gpu.speedup is None


def test_a_baseline_that_failed_a_hard_gate_is_no_measure():
    wrong = [seal(replace(one, evidence=replace(one.evidence, parameters_moved=0.5))) for one in asked(runs(), SLOW)]
    summary = summarised(wrong, asked(runs("gpu-best", FAST), FAST))
    assert all(row.to_accuracy.speedup is None for row in summary.cells)
    assert [sentence for sentence in accuracy_sentences(summary) if "cpu-reference" in sentence] == []


def test_where_no_accuracy_was_asked_for_nothing_is_said():
    summary = summarised([record()])
    assert (accuracy_rows(summary), accuracy_sentences(summary)) == ([], [])
    assert "test accuracy" not in render_markdown(summary)


def test_others_at_work_meanwhile_are_said_beside_the_result():
    summary = summarised(asked(runs(), SLOW, others=0.66), asked(runs("gpu-best", FAST), FAST))
    said = "Others took up to so much of the cores on the way to the accuracy: cpu-reference (66 %)."
    assert [note for note in summary.notes if "Others took" in note] == [said]
    assert [row["others took"] for row in accuracy_rows(summary)] == ["1 %", "66 %"]


def test_a_run_whose_timed_epochs_were_disturbed_still_counts_for_its_accuracy():
    disturbed = [replace(one, tries=tried(one.run, 2.0, *["others"] * (one.run == 3)).tries) for one in runs()]
    summary = summarised(asked([seal(one) for one in disturbed], SLOW, missed=[3]))
    assert (summary.cells[0].runs, summary.cells[0].to_accuracy.runs, summary.cells[0].to_accuracy.reached) == (2, 3, 2)


def test_runs_of_one_seed_are_compared_pair_by_pair():
    """A lucky start is as lucky on both sides; where the seeds differ, it widens the interval."""
    lucky = (10.0, 20.0, 40.0)
    halves = asked(
        runs("gpu-best", FAST), [seconds / factor for seconds, factor in zip(lucky, (2, 2.1, 1.9), strict=True)]
    )
    paired = summarised(asked(runs(), lucky), halves).cells[1].to_accuracy.speedup
    assert (paired.low, paired.estimate, paired.high) == pytest.approx((1.76, 2.0, 2.27), rel=0.01)
    others = [replace(one, until_accuracy=replace(one.until_accuracy, seed=99 + one.run)) for one in halves]
    apart = summarised(asked(runs(), lucky), others).cells[1].to_accuracy.speedup
    assert apart.low < 1 < 4 < apart.high
