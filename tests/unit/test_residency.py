"""Images that lie in the host's memory when the clock starts, and images that have no room where they should lie."""

import html
from dataclasses import replace

import pytest
import torch
from unit.examples import record, runs

from epochbench.aggregate.aggregate import aggregate
from epochbench.aggregate.compare import compare
from epochbench.aggregate.settings import Settings
from epochbench.aggregate.tables import epoch_table
from epochbench.errors import BenchmarkError
from epochbench.records.gates import HARD, judged
from epochbench.report.draw import draw_page
from epochbench.timing import load
from epochbench.timing.cell import Cell
from epochbench.timing.devices.cpu import CpuDevice
from epochbench.timing.load import HostBatches, count_images, load_batches
from epochbench.timing.machine import host
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import seal
from epochbench.timing.run import run_cell
from epochbench.timing.task import Task
from epochbench.timing.team import Solo

SHORT = Protocol(warmup_steps=2, min_epochs=2, max_epochs=2, min_steps=0, min_seconds=0.0, max_seconds=60.0)
ON_HOST = replace(SHORT, residency="host")


def task(manifest, protocol=ON_HOST, **columns):
    return Task(Cell(**{"cell": "a", "device": "cpu", "batch_size": 200} | columns), 1, protocol, manifest, threads=1)


def test_from_the_hosts_memory_a_network_is_trained_to_the_very_same_losses(manifest):
    """500 images in batches of 200, so that the last one is smaller, across shards of 150."""
    ways = {"memory_format": "channels_last", "micro_batch": 50}
    there, here = (run_cell(task(manifest, protocol, **ways)) for protocol in (SHORT, ON_HOST))
    assert here.training.warmup_losses == there.training.warmup_losses
    assert here.training.epoch_losses == there.training.epoch_losses
    assert here.training.test_accuracy == there.training.test_accuracy
    assert here.evidence.counted_images == 1000
    assert (there.protocol.residency, here.protocol.residency) == ("device", "host")
    assert [
        finding.gate for finding in judged(here).gates if finding.passed is False and finding.severity == HARD
    ] == []


class Watched(CpuDevice):
    """A device that notes when a batch sets out and when it is handed over."""

    def __init__(self):
        super().__init__()
        self.noted = []

    def ahead(self, work):
        number = sum(what == "sets out" for what, _ in self.noted)
        self.noted.append(("sets out", number))

        def taken():
            self.noted.append(("is taken", number))
            return work()

        return taken


def test_the_next_batch_is_on_its_way_while_a_step_is_taken(manifest):
    device = Watched()
    batches, _ = load_batches(task(manifest), Solo(), device)
    assert isinstance(batches, HostBatches)
    assert (len(batches), count_images(batches), device.noted) == (3, 500, [])
    steps = [("step", len(labels)) for _, labels in batches if device.noted.append(("step", len(labels))) is None]
    assert [size for _, size in steps] == [200, 200, 100]
    assert device.noted == [
        ("sets out", 0), ("sets out", 1), ("is taken", 0), ("step", 200), ("sets out", 2), ("is taken", 1),
        ("step", 200), ("is taken", 2), ("step", 100),
    ]  # fmt: skip
    kept, _ = load_batches(task(manifest, SHORT), Solo(), CpuDevice())
    assert all(
        torch.equal(one, other) for pair in zip(batches, kept, strict=True) for one, other in zip(*pair, strict=True)
    )
    assert {images.dtype for images, _ in batches.kept} == {torch.uint8}


@pytest.mark.fault("hardware", "refused")
@pytest.mark.parametrize(
    ("protocol", "columns", "free", "words"),
    [
        # 500 images of 3072 floats are 6.144 MB, twice that on the way to another layout, a quarter as bytes.
        (
            SHORT,
            {},
            6_143_999,
            "500 training images of 3x32x32 take 6.1 MB on the device, which has 6.1 MB free; set dat",
        ),
        (SHORT, {"memory_format": "channels_last"}, 12_287_999, "on the device"),
        (ON_HOST, {}, 1_535_999, "on the host, which has 1.5 MB free; train on fewer or smaller images"),
    ],
)
def test_data_that_outgrows_the_memory_is_refused_with_the_sizes_before_it_is_read(
    manifest, monkeypatch, protocol, columns, free, words
):
    read = []
    stored = load._stored
    monkeypatch.setattr(load, "_stored", lambda *where: read.append(where) or stored(*where))
    monkeypatch.setattr(host, "free_memory_bytes", lambda: free)
    with pytest.raises(BenchmarkError, match=f"cell 'a': .*{words}"):
        load_batches(task(manifest, protocol, **columns), Solo(), CpuDevice())
    assert read == []
    monkeypatch.setattr(host, "free_memory_bytes", lambda: free + 1)
    load_batches(task(manifest, protocol, **columns), Solo(), CpuDevice())
    assert read


@pytest.mark.parametrize(("limit", "expected"), [("max", 7_000), ("5000", 2_500)])
def test_free_memory_is_what_the_cgroup_leaves_cached_files_included(tmp_path, monkeypatch, limit, expected):
    for name, text in {"max": limit, "current": "4000", "stat": "anon 2000\nfile 1500\nfile_mapped 9\n"}.items():
        (tmp_path / f"memory.{name}").write_text(text + "\n")
    monkeypatch.setattr(host, "_cgroup_folders", lambda: [tmp_path, tmp_path / "none"])
    monkeypatch.setattr(host.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 7_000}))
    assert host.free_memory_bytes() == expected


def test_a_graph_of_an_epoch_has_no_batches_on_the_host(manifest):
    cell = {"device": "gpu", "execution": "epoch_graph"}
    with pytest.raises(BenchmarkError, match=r"cell 'a': execution epoch_graph .*dataset\.residency is host"):
        load_batches(task(manifest, **cell), Solo(), CpuDevice())


def test_what_was_timed_is_told_and_never_held_against_the_other(tmp_path):
    here = [seal(replace(one, protocol=replace(one.protocol, residency="host"))) for one in runs()]
    summary = aggregate(here, Settings(), [])
    draw_page(summary, epoch_table(here), [], tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "The images lie in the host's memory as bytes before the clock starts" in page
    assert "on the device before the clock starts" not in page
    assert any("way from the host's memory to the device is timed too" in note for note in summary.notes)
    other = runs("cpu-best", (1.0, 1.1, 1.2))
    rows = {row.cell: row for row in aggregate([*here, *other], Settings(), []).cells}
    assert rows["cpu-best"].speedup is None
    assert "images begin in the device's memory" in rows["cpu-best"].flags
    (compared,) = compare(runs(), here, Settings(), 0.05)
    assert (compared.verdict, compared.note) == ("MISSING", "images elsewhere when the clock started")


def test_the_page_names_other_images_and_draws_no_published_result_of_others(tmp_path):
    data = replace(
        record().dataset, name="synthetic 3x224x224", synthetic=True, image_shape=[3, 224, 224], classes=1000
    )
    made = runs(dataset=data)
    published = [{"label": "Flux.jl", "device": "cpu", "hardware": "i7", "seconds": 82.47, "images": 50_000,
                  "statistic": "minimum of 1", "source": "a post"}]  # fmt: skip
    summary = aggregate(made, Settings(), [])
    draw_page(summary, epoch_table(made), published, tmp_path)
    page = (tmp_path / "index.html").read_text()
    assert "An image has 3 x 224 x 224 values and is of one of 1,000 classes." in page
    assert "Flux.jl" not in page
    made = "{shape: 3x224x224, classes: 1000, train_images: 50000, test_images: 10000}"
    assert f"make run ARGS=\"--config dataset='{{source: synthetic, synthetic: {made}}}'\"" in html.unescape(page)
    assert "The images are synthetic." in summary.notes
