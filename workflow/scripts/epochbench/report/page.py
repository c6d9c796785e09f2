"""The page: one file that needs nothing beside it."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from epochbench import wording
from epochbench.aggregate.summary import Summary
from epochbench.report import cell_tables, machine_tables, ratio_tables
from epochbench.report.references import scaled_references

# A PNG begins with its signature and the length and name of its first block, then width and height, 4 bytes each.
PNG_SIZE = 16


@dataclass(frozen=True)
class Pictures:
    """What is embedded: the figures as SVG, and a PNG of sample images; None where there is none."""

    speedup_svg: str
    waterfall_svg: str | None = None
    samples_png: bytes | None = None


def render_page(summary: Summary, published: list[dict], pictures: Pictures) -> str:
    """Return index.html with the pictures inside it; every text from the outside is escaped."""
    return _template("index.html.j2").render(
        summary=summary,
        images=wording.count(summary.dataset.train_images),
        figure=_embeddable(pictures.speedup_svg),
        alternative=_alternative(summary),
        waterfall=_embeddable(pictures.waterfall_svg, "w") if pictures.waterfall_svg else None,
        samples=_samples(pictures.samples_png) if pictures.samples_png else None,
        **_tables_of_cells(summary),
        **_tables_of_ratios(summary, published),
        **_tables_of_machines(summary),
    )


def _tables_of_cells(summary: Summary) -> dict[str, list]:
    return {
        "cells": cell_tables.cell_rows(summary),
        "settings": cell_tables.settings_rows(summary),
        "times": cell_tables.time_rows(summary),
        "tries": cell_tables.try_rows(summary),
        "limits": cell_tables.limit_rows(summary),
        "energy": cell_tables.energy_rows(summary),
        "gates": cell_tables.gate_rows(summary),
    }


def _tables_of_ratios(summary: Summary, published: list[dict]) -> dict[str, list]:
    return {
        "rungs": ratio_tables.rung_rows(summary),
        "climb": ratio_tables.ladder_sentences(summary),
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


def render_comparison(
    title: str, rows: list[dict[str, str]], figure_svg: str | None = None, remarks: Sequence[str] = ()
) -> str:
    """Return a page with one table on several exports, and above it a figure and remarks where there are any."""
    figure = _embeddable(figure_svg) if figure_svg else None
    return _template("comparison.html.j2").render(title=title, rows=rows, figure=figure, remarks=remarks)


def _template(name: str) -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def _embeddable(svg: str, prefix: str = "s") -> Markup:
    """Return the svg element alone, wide as its place, without metadata that names addresses.

    Its ids get a prefix, since several figures share one page.
    """
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
    return Markup(element)  # noqa: S704 - drawn by matplotlib, which escapes its texts


def _samples(png: bytes) -> dict[str, str | int]:
    """Return a picture as the page embeds it: its bytes in base64, its width and height in pixels."""
    width, height = (int.from_bytes(png[start : start + 4]) for start in (PNG_SIZE, PNG_SIZE + 4))
    return {"base64": base64.b64encode(png).decode(), "width": width, "height": height}


def _alternative(summary: Summary) -> str:
    """Return the figure in words, for those who cannot see it."""
    rows = [f"{row['cell']} {row['epoch']}, speedup {row['speedup']}" for row in cell_tables.cell_rows(summary)]
    return "Time of one training epoch by cell, fastest first. " + "; ".join(rows) + "."
