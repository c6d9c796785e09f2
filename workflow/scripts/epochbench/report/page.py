"""The page: one file that needs nothing beside it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from epochbench import wording
from epochbench.aggregate.summary import Summary
from epochbench.report import accuracy_tables, cell_tables, framework_tables, machine_tables, ratio_tables, share
from epochbench.report.figure import marks_in_words
from epochbench.report.references import scaled_references
from epochbench.report.style import Figure, on_page
from epochbench.report.templating import template
from epochbench.shard.samples import COLUMNS

# A PNG begins with its signature and the length and name of its first block, then width and height, 4 bytes each.
PNG_SIZE = 16
# Losses above the figure; the others are folded.
MOST_MISSING = 3


@dataclass(frozen=True)
class Pictures:
    """What is embedded: the figures and a PNG of sample images; None where there is none."""

    speedup: Figure
    waterfall: Figure | None = None
    samples_png: bytes | None = None


def render_page(summary: Summary, published: list[dict], pictures: Pictures) -> str:
    """Return index.html with the pictures inside it; every text from the outside is escaped."""
    return template("index.html.j2").render(
        summary=summary,
        labels=summary.labels,
        question=share.question(summary),
        notes=share.must_be_said(summary),
        missing=_missing(summary),
        most_missing=MOST_MISSING,
        details=summary.headline.details if summary.headline else [],
        ratios=share.ratios(summary),
        two_lines=share.two_lines(summary),
        images=wording.count(summary.dataset.train_images),
        shape=" x ".join(map(str, summary.dataset.image_shape)),
        classes=wording.count(summary.dataset.classes),
        sampled=_sampled(summary),
        speedup=_both_forms(pictures.speedup, "s"),
        alternative=_alternative(summary),
        caption=marks_in_words(summary),
        waterfall=_both_forms(pictures.waterfall, "w") if pictures.waterfall else None,
        samples=_samples(pictures.samples_png) if pictures.samples_png else None,
        which=summary.frameworks.sentences if summary.frameworks else [],
        at_best=summary.frameworks.details if summary.frameworks else [],
        **_tables_of_cells(summary),
        **_tables_of_frameworks(summary),
        **_tables_of_ratios(summary, published),
        **_tables_of_machines(summary),
    )


def _missing(summary: Summary) -> list[tuple[str, str]]:
    """Return each run and file that is not there, and why."""
    failed = [(f"{run.cell}, run {run.run}", f"failed: {run.error}") for run in summary.failed]
    return failed + [(file.file, f"was left out: {file.reason}") for file in summary.left_out]


def _tables_of_cells(summary: Summary) -> dict[str, list]:
    return {
        "cells": cell_tables.cell_rows(summary),
        "settings": cell_tables.settings_rows(summary),
        "times": cell_tables.time_rows(summary),
        "tries": cell_tables.try_rows(summary),
        "limits": cell_tables.limit_rows(summary),
        "energy": cell_tables.energy_rows(summary),
        "gates": cell_tables.gate_rows(summary),
        "failed_gates": cell_tables.failed_gate_rows(summary),
        "judged": cell_tables.gates_in_words(summary),
    }


def _tables_of_frameworks(summary: Summary) -> dict[str, list]:
    return {
        "frameworks": framework_tables.framework_rows(summary),
        "framework_ratios": framework_tables.framework_ratio_rows(summary),
        "within": framework_tables.within_rows(summary),
    }


def _tables_of_ratios(summary: Summary, published: list[dict]) -> dict[str, list]:
    return {
        "rungs": ratio_tables.rung_rows(summary),
        "climb": ratio_tables.ladder_sentences(summary),
        "accuracies": accuracy_tables.accuracy_rows(summary),
        "learned": accuracy_tables.accuracy_sentences(summary),
        "pays": ratio_tables.break_even_sentences(summary),
        "batches": ratio_tables.batch_rows(summary),
        "replay": ratio_tables.replay_rows(summary),
        "references": ratio_tables.reference_rows(scaled_references(summary, published)),
    }


def _tables_of_machines(summary: Summary) -> dict[str, list]:
    return {
        "machines": machine_tables.machine_rows(summary),
        "peaks": machine_tables.peak_rows(summary),
        "differences": machine_tables.difference_rows(summary),
        "code": machine_tables.code_rows(summary),
        "again": machine_tables.commands(summary),
    }


@dataclass(frozen=True)
class ShortPage:
    """A page with one figure and one table."""

    title: str
    remarks: Sequence[str]  # sentences below the title
    figure: Figure | None
    alternative: str  # the figure in words
    explanation: str  # how to read figure and table
    rows: list[dict[str, str]]
    words: list[str]  # each row's cell in words


def render_short_page(page: ShortPage) -> str:
    """Return the page with its figure inside it."""
    figure = _both_forms(page.figure, "s") if page.figure else None
    return template("short.html.j2").render(page=page, figure=figure)


def _both_forms(figure: Figure, prefix: str) -> dict[str, Markup]:
    """Return a figure's two forms as the page embeds them; each form's ids are its own."""
    texts = {form: on_page(svg, f"{prefix}{form[0]}") for form, svg in figure._asdict().items()}
    return {form: Markup(svg) for form, svg in texts.items()}  # noqa: S704 - matplotlib escapes its texts


def _sampled(summary: Summary) -> str:
    """Return of which classes the picture shows images: of the 10, or of the first 20 of 1,000."""
    classes = wording.count(summary.dataset.classes)
    return f"the first {COLUMNS} of {classes}" if summary.dataset.classes > COLUMNS else f"the {classes}"


def _samples(png: bytes) -> dict[str, str | int]:
    """Return a picture as the page embeds it: its bytes in base64, its width and height in pixels."""
    width, height = (int.from_bytes(png[start : start + 4]) for start in (PNG_SIZE, PNG_SIZE + 4))
    return {"base64": base64.b64encode(png).decode(), "width": width, "height": height}


def _alternative(summary: Summary) -> str:
    """Return the figure in words, for those who cannot see it."""
    labels, cells = summary.labels, cell_tables.cell_rows(summary)
    rows = [f"{labels[row['cell']]}: {row['epoch']}, speedup {row['speedup']}" for row in cells]
    return "Time of one training epoch by cell, fastest first. " + "; ".join(rows) + "."
