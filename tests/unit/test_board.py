"""The board: what is taken, what is refused and why, what is marked, and what the page makes of a stranger's texts."""

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from unit.examples import BASE, H200, honest, measured, runs

from epochbench import wording
from epochbench.aggregate import submission
from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.board import all_results, find_exports, known_code, read_board
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.submission import LIMITS
from epochbench.errors import BenchmarkError
from epochbench.records.exchange import read_export, write_export
from epochbench.report.board import origin_rows, refusals, render_board, result_rows, title_of, write_board
from epochbench.stats import Interval
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Code, Dataset, Finding, GpuState, Stack, Try, seal

KNOWN = frozenset({"feed"})
SYNTHETIC = Dataset("stand-in", True, "cd" * 32, 50_000, 10_000, [3, 32, 32], 10)
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31mZ\u0301\u0302\u0303" + "x" * 300


def elsewhere(records, number):
    return [seal(replace(one, machine=replace(one.machine, fingerprint=f"{number:016}"))) for one in records]


def pack(folder, **exports):
    for name, records in exports.items():
        write_export(records, folder / f"{name}.zip", "2026-01-03T00:00:00+00:00")
    return folder


def board_of(folder, settings=None, known=KNOWN):
    return read_board(find_exports([str(folder)]), settings or Settings(), known)


def results_of(folder, **exports):
    board = board_of(pack(folder, **exports))
    assert refusals(board.refused) == []
    return all_results(board)


def refusal_of(folder, records):
    board = board_of(pack(folder, forged=records))
    assert (len(board.refused), board.tables) == (1, [])
    return board.refused[0].reason


def changed(records, name="gpu-best", **parts):
    """Return the records, with parts of one cell's given anew by functions, and sealed again as a forger would."""
    return [
        seal(replace(one, **{key: part(one) for key, part in parts.items()})) if one.cell.cell == name else one
        for one in records
    ]


def scaled_timing(factor, with_rate=True):
    def timing(one):
        old = one.timing
        times = [each * factor for each in old.epoch_seconds]
        rate = old.images_per_second / factor if with_rate else old.images_per_second
        return replace(old, epoch_seconds=times, event_seconds=old.event_seconds and times, images_per_second=rate)

    return timing


def scaled_evidence(factor):
    def evidence(one):
        fields = ("outer_seconds", "step_seconds", "between_seconds")
        return replace(one.evidence, **{name: getattr(one.evidence, name) * factor for name in fields})

    return evidence


def without_the_last_epoch(one):
    images, times = one.dataset.train_images, one.timing.epoch_seconds[:-1]
    events, rate = one.timing.event_seconds and times, images * len(times) / sum(times)
    return replace(one.timing, epoch_seconds=times, event_seconds=events, images_per_second=rate)


def work_of_two_epochs(one):
    counts = {"counted_steps": 100, "counted_images": 2 * one.dataset.train_images}
    seconds = {"outer_seconds": sum(one.timing.epoch_seconds[:-1]), "between_seconds": 0.0, "step_seconds": 0.0}
    return replace(one.evidence, **counts, **seconds)


def with_facts(**facts):
    return lambda one: Stack("", {"torch": one.machine.torch, "Python": one.machine.python} | facts)


def scaled_peaks(factor):
    def peaks(one):
        products = {name: value * factor for name, value in one.peaks.matrix_flop_per_second.items()}
        return replace(one.peaks, matrix_flop_per_second=products)

    return peaks


def test_a_result_has_the_numbers_that_its_own_page_has(tmp_path):
    (result,) = results_of(tmp_path, one=measured())
    leading = aggregate(measured(), Settings(), []).headline
    assert (result.over_baseline, result.over_best_cpu) == (leading.speedup, leading.fair.speedup)
    sides = [result.best, result.best_cpu, result.baseline]
    assert [side.cell for side in sides] == ["gpu-best", "cpu-best", "cpu-reference"]
    assert (result.best.hardware, result.baseline.hardware) == ("one NVIDIA H200", "8 A cores")
    assert (result.measured[:10], result.torch, result.python) == ("2026-01-02", "2.15", "3.11")
    assert "cpu-reference: fair baseline" in result.doubts


def test_each_pair_of_machines_has_a_row_and_an_address(tmp_path):
    other = honest(runs("gpu-other", (0.1, 0.11, 0.12)), gpu=replace(H200, name="Pretended 9000"))
    both = results_of(tmp_path, one=measured() + other)
    assert [one.best.hardware for one in both] == ["one NVIDIA H200", "one Pretended 9000"]
    assert {one.baseline.cell for one in both} == {"cpu-reference"}
    assert not any("runs are those of" in remark for one in both for remark in one.remarks)
    # The pair has its address whatever else stands in the export.
    again = results_of(tmp_path, alone=measured())
    assert [(one.address, one.files) for one in again] == [
        (both[0].address, ["alone.zip", "one.zip"]),
        (both[1].address, ["one.zip"]),
    ]


def test_a_processor_alone_is_compared_with_itself(tmp_path):
    (result,) = results_of(tmp_path, one=[one for one in measured() if one.cell.device == "cpu"])
    assert (result.has_gpu, result.over_best_cpu, result.best.cell) == (False, None, "cpu-best")
    assert result.over_baseline.estimate == pytest.approx(4.1, rel=0.02)


def test_an_address_depends_on_the_records_and_not_on_how_they_are_packed(tmp_path):
    other_gpu = honest(runs("gpu-other", (0.1, 0.11, 0.12)), gpu=replace(H200, name="Pretended 9000"))
    records = measured() + other_gpu
    first = results_of(tmp_path / "a", one=records)
    packed = tmp_path / "b/other-name.zip"
    # A finding is no measurement, and is passed anew.
    told = [replace(one, gates=[Finding("quiet", "soft", True, "As quiet as a mouse.")]) for one in reversed(records)]
    write_export(told, packed, "2030-01-01")
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr("records/", "")  # as programs that pack folders write it
    again = all_results(board_of(packed.parent))
    assert [replace(one, files=[]) for one in again] == [replace(one, files=[]) for one in first]
    assert len({one.address for one in first}) == 2
    measured_otherwise = changed(records, "cpu-best", conditions=lambda one: replace(one.conditions, load_average=0.2))
    assert not {one.address for one in results_of(tmp_path / "c", one=measured_otherwise)} & {
        one.address for one in first
    }


def test_copies_are_merged_and_repetitions_and_shared_runs_are_said(tmp_path):
    first, again = measured(), measured(1.01, started="2026-02-01")
    part = [one for one in first if one.run < 3]
    results = results_of(tmp_path, one=first, copy=first, again=again, part=part)
    by_file = {tuple(one.files): one for one in results}
    assert set(by_file) == {("copy.zip", "one.zip"), ("again.zip",), ("part.zip",)}
    addresses = [f"#{by_file[files].address}" for files in (("copy.zip", "one.zip"), ("part.zip",))]
    earliest = min(addresses, key=lambda address: address[1:])
    assert f"same machines, software and code as {earliest}" in by_file["again.zip",].remarks
    said = "; ".join(by_file["part.zip",].remarks + by_file["copy.zip", "one.zip"].remarks)
    assert f"6 of its runs are those of {earliest}" in said


@pytest.mark.fault("forged exports", "survived")
def test_runs_sent_again_under_other_names_are_said_to_be_those_of_another(tmp_path):
    names = elsewhere(measured(gpu="NVIDIA B900", started="2026-03-01", node="another"), 5)
    results = results_of(tmp_path / "a", one=measured(), renamed=names)
    for one, other in zip(results, reversed(results), strict=True):
        assert f"9 of its runs are those of #{other.address}" in one.remarks
    # So are the same runs with other times.
    edited = results_of(tmp_path / "b", one=measured(), edited=measured(0.9))
    assert sum("9 of its runs are those of" in "; ".join(one.remarks) for one in edited) == 2


CARD = GpuState(None, None, None, 700.0, None, None)
WRONG_TRY = Try([0.001], 0.0, 0.0, 0.0, 1e12, [])
FORGERIES = {
    "times halved": ({"timing": scaled_timing(0.5, with_rate=False)}, "its times make"),
    "times and rate halved": ({"timing": scaled_timing(0.5)}, "its steps take 0.0372 s of epochs that take 0.0186 s"),
    "times, rate and steps halved": (
        {"timing": scaled_timing(0.5), "evidence": lambda one: replace(one.evidence, step_seconds=0.0)},
        "a hard gate failed: gpu-best: synchronised",
    ),
    "epochs left out": (
        {"timing": without_the_last_epoch, "evidence": work_of_two_epochs}, "it has 3 losses of 2 epochs",
    ),
    "epochs and losses left out": (
        {
            "timing": without_the_last_epoch, "evidence": work_of_two_epochs,
            "training": lambda one: replace(one.training, epoch_losses=[2.0, 1.9]),
        },
        "its protocol asks for more than its 2 epochs",
    ),
    "a protocol that asks for less": (
        {"protocol": lambda one: replace(one.protocol, min_epochs=1, max_epochs=2)},
        "its protocol ends before its 3 epochs",
    ),
    "another protocol on one side": (
        {"protocol": lambda one: replace(one.protocol, quiet_seconds=9.0)}, "were not timed by one protocol",
    ),
    "no first losses": (
        {"training": lambda one: replace(one.training, warmup_losses=[])}, "it has 0 losses of 2 warm-up steps",
    ),
    "fewer steps": (
        {"training": lambda one: replace(one.training, steps_per_epoch=25)}, "its images and batches make 50",
    ),
    "a CPU's run called a GPU's": (
        {"name": "cpu-best", "cell": lambda one: replace(one.cell, device="gpu")}, "has what another device writes",
    ),
    "and with a GPU": (
        {
            "name": "cpu-best", "cell": lambda one: replace(one.cell, device="gpu"),
            "machine": lambda one: replace(one.machine, gpu=H200),
        },
        "allocator tuned is a CPU's",
    ),
    "less work": (
        {"limit": lambda one: replace(one.limit, flop_per_epoch=1.0)}, "has 1 FLOP, but cpu-reference 2.946e+11",
    ),
    "more energy than the card can draw": (
        {"conditions": lambda one: replace(one.conditions, gpu_energy_joules=1e6, gpu_before=CARD)},
        "limited to 700 W",
    ),
    "two versions of torch": ({"stack": with_facts(torch="9.9")}, "it names torch 2.15 and torch 9.9"),
    "beyond the machine's own peaks": (
        {"timing": scaled_timing(0.1), "evidence": scaled_evidence(0.1)}, "a hard gate failed: gpu-best: possible",
    ),
    "a slower baseline": (
        {"name": "cpu-reference", "timing": scaled_timing(9), "evidence": scaled_evidence(9)}, "but the whole run 30 s",
    ),
    "its last try": ({"tries": lambda one: [WRONG_TRY]}, "its last try has other times"),
    "no time": ({"started_at": lambda one: "<b>yesterday</b>"}, "'<b>yesterday</b>', which is no time in UTC"),
    "nothing learned": (
        {"evidence": lambda one: replace(one.evidence, parameters_moved=0.5)}, "gpu-best: work done",
    ),
    "another torch": (
        {"machine": lambda one: replace(one.machine, torch="9.9")},
        "gpu-best and cpu-reference have different software or settings: torch 9.9 against 2.15",
    ),
    "other code on one side": ({"code": lambda one: Code("beef", None)}, "gpu-best: same data, same code: 1 different"),
    "other images on one side": ({"dataset": lambda one: SYNTHETIC}, "gpu-best: same data, same code"),
    "an edit without a seal": ({"checksum": lambda one: "0" * 64}, "its own checksum is wrong"),
}  # fmt: skip


@pytest.mark.fault("forged exports", "refused")
@pytest.mark.parametrize("kind", FORGERIES)
def test_a_forgery_that_contradicts_itself_is_refused_with_the_reason(tmp_path, kind):
    parts, words = FORGERIES[kind]
    forged = changed(measured(), **parts)
    if kind == "an edit without a seal":
        forged = [replace(one, checksum="0" * 64) for one in forged]
    assert words in refusal_of(tmp_path, forged)
    assert refusals(board_of(pack(tmp_path, forged=measured())).refused) == []


@pytest.mark.fault("forged exports", "refused")
def test_a_run_that_is_there_twice_is_refused(tmp_path):
    first = measured()[0]
    copied = [*measured(), seal(replace(first, run=4))]
    assert "another run has the very same times" in refusal_of(tmp_path / "a", copied)
    write_export(measured(), tmp_path / "b.zip", "now")
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest, name = json.loads(members["manifest.json"]), "records/cpu-reference/run-1.json"
    manifest["records"]["records/other/run-1.json"] = manifest["records"][name]
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        for each, content in (members | {"manifest.json": json.dumps(manifest)}).items():
            archive.writestr(each, content)
        archive.writestr("records/other/run-1.json", members[name])
    assert "cpu-reference run 1 is there 2 times" in board_of(tmp_path / "b.zip").refused[0].reason


@pytest.mark.fault("forged exports", "survived")
def test_a_forgery_without_a_contradiction_is_shown_and_the_page_says_that_it_cannot_be_known(tmp_path):
    parts = {"timing": scaled_timing(0.5), "evidence": scaled_evidence(0.5), "peaks": scaled_peaks(2)}
    (result,) = results_of(tmp_path, forged=changed(measured(), **parts))
    assert result.over_baseline.estimate == pytest.approx(2 * 168, rel=0.02)
    page = " ".join(render_board(board_of(tmp_path)).split())
    assert "It does not show that it was not forged: who edits a record can make a new seal." in page
    assert "whether times and peaks were all changed together" in page


@pytest.mark.fault("forged exports", "survived")
def test_other_code_is_marked_unless_the_repository_had_it(tmp_path):
    pack(tmp_path / "in", one=measured(code=Code("beef", "abc")))
    board = board_of(tmp_path / "in")
    assert result_rows(board.tables[0], "EUR")[0]["remarks"].startswith("other code")
    assert "beef (other code)" in render_board(board)
    (tmp_path / "code.tsv").write_text("digest\tnetwork\nbeef\tlenet\n")
    known = known_code(tmp_path / "code.tsv", KNOWN)
    board = board_of(tmp_path / "in", known=known)
    assert known == {"beef", "feed"}
    assert "other code" not in render_board(board).partition('<h2 id="trust">')[0]
    with pytest.raises(BenchmarkError, match=r"none\.tsv: not readable"):
        known_code(tmp_path / "none.tsv", KNOWN)


@pytest.mark.fault("forged exports", "survived")
def test_another_fingerprint_does_not_hide_other_images(tmp_path):
    """On the same images with the same seed every machine begins with the same loss."""
    on_others = [seal(replace(one, training=replace(one.training, warmup_losses=[2.5, 2.4]))) for one in measured(1.1)]
    results = results_of(
        tmp_path, one=measured(), two=elsewhere(measured(1.2), 2), swapped=elsewhere(on_others, 3)
    )  # fmt: skip
    marked = {one.files[0]: [each for each in one.remarks if "first loss" in each] for one in results}
    assert marked["one.zip"] == marked["two.zip"] == []
    assert "its first loss is 2.5, not the usual 2.4" in marked["swapped.zip"][0]


@pytest.mark.fault("forged exports", "survived")
def test_what_else_a_result_has_apart_from_the_others_is_marked(tmp_path):
    training = {"training": lambda one: replace(one.training, warmup_losses=[2.5, 2.3])}
    apart = {
        "gpu": changed(measured(1.1), **training),
        "cells": [one for one in measured(1.2) if one.cell.cell != "cpu-best"],
        "runs": [one for one in measured(1.3) if (one.cell.cell, one.run) != ("cpu-best", 2)],
        "seed": [seal(replace(one, protocol=replace(one.protocol, seed=7))) for one in measured(1.4)],
        "flop": [seal(replace(one, limit=replace(one.limit, flop_per_epoch=9.0))) for one in measured(1.5)],
        "isa": [seal(replace(one, stack=with_facts(ONEDNN_MAX_CPU_ISA="SSE41")(one))) for one in measured(1.6)],
        "arithmetic": [seal(replace(one, stack=with_facts(NVIDIA_TF32_OVERRIDE="1")(one))) for one in measured(1.65)],
        "memory": [seal(replace(one, stack=with_facts(MALLOC_ARENA_MAX="1")(one))) for one in measured(1.75)],
    }
    plain = {"one": measured(), "two": elsewhere(measured(1.7), 20)}
    sent = plain | {name: elsewhere(records, number) for number, (name, records) in enumerate(apart.items(), start=1)}
    told = {one.files[0].removesuffix(".zip"): "; ".join(one.remarks) for one in results_of(tmp_path, **sent)}
    words = {
        "gpu": "its first loss is 2.5, not the usual 2.4",
        "cells": "its CPU's cells are 1, usually 2",
        "runs": "1 of 3 runs of cpu-best are missing",
        "seed": "nobody else has seed 7",
        "flop": "an epoch has 9 FLOP, which is not usual",
        "isa": "with ONEDNN_MAX_CPU_ISA=SSE41",
        "arithmetic": "with NVIDIA_TF32_OVERRIDE=1",
        "memory": "with MALLOC_ARENA_MAX=1",  # by a pattern, not by its name
    }
    assert {name: {key for key, word in words.items() if word in told[name]} for name in told} == {
        name: {name} & set(words) for name in sent
    }


def test_a_result_that_calls_synthetic_images_real_is_marked(tmp_path):
    real = replace(SYNTHETIC, synthetic=False, name="CIFAR-10")
    results = results_of(tmp_path, one=measured(dataset=SYNTHETIC), two=elsewhere(measured(1.1, dataset=real), 2))
    assert [("others say that these images are synthetic" in one.remarks) for one in results] == [False, True]
    assert "synthetic images" in title_of(board_of(tmp_path).tables[0])


def test_what_cannot_be_compared_has_a_table_of_its_own(tmp_path):
    slow = {
        "cell": lambda one: replace(one.cell, threads=1),
        "conditions": lambda one: replace(one.conditions, threads=1),
    }
    exports = {
        "real": measured(),
        "synthetic": measured(dataset=SYNTHETIC),
        "batches": measured(batch_size=500),
        "network": measured(model="resnet18"),
        "half": measured(dataset=replace(BASE.dataset, train_images=25_000)),
        "namesake": [seal(replace(one, training=replace(one.training, parameters=9))) for one in measured()],
        "moved": measured(protocol=Protocol(residency="host")),
        "otherwise": measured(protocol=Protocol(optimizer="adamw")),
        "weak": changed(changed(measured(), "cpu-reference", **slow), "cpu-best", **slow),
    }
    board = board_of(pack(tmp_path, **exports))
    assert refusals(board.refused) == []
    assert {title_of(table) for table in board.tables} == {
        "lenet (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000",
        "lenet (39,558 parameters) on synthetic images cdcdcd (50,000 images), batches of 1,000",
        "lenet (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 500",
        "lenet (39,558 parameters) on CIFAR-10 ababab (25,000 images), batches of 1,000",
        "lenet (9 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000",
        "resnet18 (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000",
        "lenet (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000, over a CPU with threads 1",
        "lenet (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000, over a CPU with "
        "images that begin in the host's memory",
        "lenet (39,558 parameters) on CIFAR-10 ababab (50,000 images), batches of 1,000, over a CPU with "
        "weights updated by adamw",
    }
    assert board.tables[-1].synthetic  # real images come first
    page = render_board(board)
    assert "The images are synthetic, so this is no result on real data." in page


def test_an_export_without_two_comparable_cells_is_refused(tmp_path):
    assert "no CPU cell beside" in refusal_of(tmp_path / "a", honest(runs()))
    assert "no CPU cell beside" in refusal_of(tmp_path / "b", measured()[6:])


def bomb(path, members=0, packed=0, unpacked=0):
    write_export(measured(), path, "now")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        for number in range(members):
            archive.writestr(f"records/cpu-a/run-{number + 1}.json", "{}")
        archive.writestr("records/big/run-1.json", bytes(unpacked))
    with path.open("ab") as file:
        file.truncate(max(packed, path.stat().st_size))


@pytest.mark.fault("forged exports", "refused")
@pytest.mark.parametrize(
    ("size", "words"),
    [
        ({"members": 2000}, "2,011 files, more than the 2,000 that are read"),
        ({"packed": 2**30}, "1,073,741,824 bytes, more than the 8,388,608"),
        ({"unpacked": 2**26}, "bytes unpacked, more than the 33,554,432"),
        ({"unpacked": 2**23}, "larger than 4 MiB"),
    ],
)
def test_an_export_that_is_too_much_is_refused(tmp_path, size, words):
    bomb(tmp_path / "bomb.zip", **size)
    assert words in board_of(tmp_path).refused[0].reason


@pytest.mark.fault("forged exports", "refused")
def test_a_wrong_record_ends_the_reading_of_an_export(tmp_path):
    """Else a thousand of them, each with a thousand mistakes to be listed, would keep a CI busy for hours."""
    bomb(tmp_path / "bomb.zip", members=1)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "a") as archive:
        archive.writestr("records/cpu-b/run-1.json", "{}")
    (wrong,) = read_export(tmp_path / "bomb.zip", LIMITS).left_out
    assert "records/cpu-a/run-1.json" in wrong.file
    assert "records/cpu-a/run-1.json: its checksum" in board_of(tmp_path).refused[0].reason


@pytest.mark.fault("forged exports", "survived")
def test_a_strangers_texts_are_only_texts(tmp_path):
    place = {"node": HOSTILE, "cpu": HOSTILE, "torch": HOSTILE, "python": HOSTILE}
    dataset = Dataset(HOSTILE, False, "ab" * 32, 50_000, 10_000, [3, 32, 32], 10)
    records = honest(runs("cpu-reference", dataset=dataset), **place)
    records += honest(runs("cpu-best", (0.5, 0.51, 0.52), dataset=dataset, precision=HOSTILE[:200]), **place)
    records = [seal(replace(one, code=Code(HOSTILE[:400], HOSTILE[:400]))) for one in records]
    renamed = [seal(replace(one, peaks=None)) for one in records]
    pack(tmp_path, **{"<img src=x>\n::error::": renamed, "no \x1b[31m": measured()})
    (tmp_path / "no \x1b[31m.zip").write_bytes(b"no zip")
    board = board_of(tmp_path)
    write_board(board, tmp_path / "out")
    page = (tmp_path / "out/board.html").read_text()
    body = page[page.index("<body>") : page.rindex("<script>")]
    assert "&lt;script&gt;alert(1)" in body
    assert re.search(r"<script|<img|[\u202e\x1b\u0302]", body) is None
    assert max(map(len, re.findall(r"x+", body))) < 60
    (line,) = refusals(board.refused)
    assert line.isprintable()
    assert line.startswith("refused: no ")


def test_the_page_and_its_data_say_the_same(tmp_path):
    settings = Settings(currency="EUR", per_hour={"NVIDIA H200": 3.6})
    pack(tmp_path, one=measured(), two=elsewhere(measured(1.5, gpu="NVIDIA H100"), 2))
    board = board_of(tmp_path, settings)
    write_board(board, tmp_path / "out")
    page, stored = (tmp_path / "out/board.html").read_text(), json.loads((tmp_path / "out/board.json").read_text())
    (table,), (told,) = board.tables, stored["tables"]
    rows = result_rows(table, "EUR")
    for one, row, kept in zip(table.results, rows, told["results"], strict=True):
        ratio = Interval(**kept["over_baseline"])
        assert row["times the CPU as typed"] == wording.ratio_with_interval(ratio)
        assert f'<a id="{kept["address"]}" href="#{kept["address"]}">' in page
        # Whole part, fraction and unit of a number are elements of their own, so that points stand under each other.
        told = set(
            re.findall(r"<t[dh][^>]*>\s*(.*?)\s*</t[dh]>", re.sub(r"</?(?:span|a)\b[^>]*>", "", page), re.DOTALL)
        )
        assert {text for text in row.values() if "<" not in text} <= told
        assert (kept["digest"], kept["runs"]) == (one.digest, 9)
    assert [row["price, 1000 epochs"] for row in rows] == ["0.0125 EUR", "unknown"]
    assert "energy, an epoch" not in rows[0]  # nobody's counter told it
    assert [row["result"] for row in origin_rows(table)] == [f"#{one.address}" for one in table.results]
    assert rows[0]["accelerator"] == "one NVIDIA H200"  # the fastest first


def test_only_the_fastest_pairs_are_drawn_and_the_page_says_so(tmp_path):
    many = {f"m{number}": elsewhere(measured(1 + number / 100, f"GPU {number}"), number) for number in range(32)}
    # One pair has the fastest result, but of its two the median is slower than any other.
    many |= {f"x{number}": elsewhere(measured(factor, "GPU x"), number) for number, factor in ((90, 0.5), (91, 3.0))}
    board = board_of(pack(tmp_path, **many))
    page = render_board(board)
    assert len(result_rows(board.tables[0], "EUR")) == 34
    assert page.count('<circle class="best"') == 30
    assert "(2 results, median)" not in page
    assert "Only the 30 fastest pairs of machines are drawn; 3 more are in the table." in page


@pytest.mark.fault("forged exports", "refused")
def test_a_number_that_nobody_foresaw_refuses_its_export_alone(tmp_path, monkeypatch):
    def overflow(*_):
        raise OverflowError("int too large to convert to float")

    pack(tmp_path, one=measured())
    monkeypatch.setattr(submission, "aggregate", overflow)
    (refused,) = board_of(tmp_path).refused
    assert refused.reason.startswith("its numbers are beyond what can be computed with (OverflowError: int too large")


def test_processes_share_the_work_and_change_nothing(tmp_path):
    pack(tmp_path, **{f"m{n}": elsewhere(measured(1 + n / 10), n) for n in range(5)})
    for name in ("a.zip", "z.zip"):
        (tmp_path / name).write_bytes(b"no export")
    paths = find_exports([str(tmp_path)])
    assert read_board(paths, Settings(), KNOWN, 2) == read_board(paths, Settings(), KNOWN, 1)


def test_nothing_is_forked_on_macos(tmp_path, monkeypatch):
    pack(tmp_path, **{f"m{n}": elsewhere(measured(1 + n / 10), n) for n in range(2)})
    paths = find_exports([str(tmp_path)])
    monkeypatch.setattr("epochbench.aggregate.board.ProcessPoolExecutor", None)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(TypeError):
        read_board(paths, Settings(), KNOWN, 2)
    monkeypatch.setattr("sys.platform", "darwin")
    assert len(all_results(read_board(paths, Settings(), KNOWN, 2))) == 2


def test_exports_are_found_by_name_folder_and_pattern_each_once(tmp_path):
    for name in ("a.zip", "deep/b.zip", "c[1].zip", "d.ZIP", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.zip").mkdir()
    files = [str(tmp_path / name) for name in ("a.zip", "c[1].zip", "d.ZIP", "deep/b.zip")]
    assert find_exports([str(tmp_path)]) == files
    assert find_exports([str(tmp_path / "[ac]*.zip"), str(tmp_path / "a.zip")]) == files[:2]
    assert find_exports([files[1]]) == files[1:2]
    (tmp_path / "empty").mkdir()
    assert find_exports([str(tmp_path / "empty")]) == []
    for nowhere in ("none.zip", "*.none", "nul\0", "http://x/a.zip"):
        with pytest.raises(BenchmarkError, match=r"board\.exports: "):
            find_exports([nowhere])


def test_the_repositorys_own_list_knows_the_code_of_earlier_versions():
    sheet = Path(__file__).parents[2] / "board" / "code.tsv"
    lines = [line.split("\t") for line in sheet.read_text().splitlines()]
    assert lines[0] == ["digest", "network", "first commit", "date"]
    assert all(re.fullmatch("[0-9a-f]{16}", line[0]) for line in lines[1:])
    assert len(known_code(sheet, KNOWN)) > len(KNOWN)
