"""The page: one file that needs nothing beside it."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from epochbench import wording
from epochbench.aggregate import answer
from epochbench.report import tables
from epochbench.report.figure import caption, scaled_references
from epochbench.report.waterfall import rung_rows


@dataclass(frozen=True)
class Pictures:
    """What is embedded: the figures as SVG, and a PNG of sample images; None where there is none."""

    speedup_svg: str
    waterfall_svg: str | None = None
    samples_png: bytes | None = None


def render_page(summary: dict, published: list[dict], pictures: Pictures) -> str:
    """Return index.html with the pictures inside it; every text from the outside is escaped."""
    first, second = answer(summary)
    return _template("index.html.j2").render(
        summary=summary,
        first=first,
        second=second,
        figure=_embeddable(pictures.speedup_svg),
        waterfall=_embeddable(pictures.waterfall_svg, "w") if pictures.waterfall_svg else None,
        samples=base64.b64encode(pictures.samples_png).decode() if pictures.samples_png else None,
        rungs=rung_rows(summary),
        differences=tables.difference_rows(summary),
        pays=tables.break_even_sentences(summary),
        batches=tables.batch_rows(summary),
        failed=summary["failed"],
        left_out=summary["left_out"],
        caption=caption(summary),
        alternative=_alternative(summary),
        cells=tables.cell_rows(summary),
        settings=tables.cell_settings(summary),
        times=tables.where_time_goes(summary),
        limits=tables.limit_rows(summary),
        peaks=tables.peak_rows(summary),
        energy=tables.energy_rows(summary),
        machines=tables.machine_rows(summary),
        gates=tables.gate_rows(summary),
        replay=tables.replay_rows(summary),
        references=tables.reference_rows(scaled_references(summary, published)),
        code=tables.code_rows(summary),
        again=tables.commands(summary),
        images=wording.count(summary["dataset"]["train_images"]),
    )


def render_comparison(title: str, rows: list[dict], figure_svg: str | None = None) -> str:
    """Return a page with one table, and a figure above it where there is one: what changed between exports."""
    figure = _embeddable(figure_svg) if figure_svg else None
    return _template("comparison.html.j2").render(title=title, rows=rows, figure=figure)


def _template(name: str):
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


def _alternative(summary: dict) -> str:
    """Return the figure in words, for those who cannot see it."""
    rows = [f"{row['cell']} {row['epoch']}, speedup {row['speedup']}" for row in tables.cell_rows(summary)]
    return "Time of one training epoch by cell, fastest first. " + "; ".join(rows) + "."
