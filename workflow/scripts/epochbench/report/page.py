"""The page: one file that needs nothing beside it."""

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from epochbench import wording
from epochbench.aggregate import answer
from epochbench.report import tables
from epochbench.report.figure import caption, scaled_references


def render_page(summary: dict, published: list[dict], figure_svg: str) -> str:
    """Return index.html with the figure inside it; every text from the outside is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    first, second = answer(summary)
    return environment.get_template("index.html.j2").render(
        summary=summary,
        first=first,
        second=second,
        figure=Markup(_embeddable(figure_svg)),  # noqa: S704 - drawn by matplotlib, which escapes its texts
        caption=caption(summary),
        alternative=_alternative(summary),
        cells=tables.cell_rows(summary),
        settings=tables.cell_settings(summary),
        times=tables.where_time_goes(summary),
        machines=tables.machine_rows(summary),
        gates=tables.gate_rows(summary),
        replay=tables.replay_rows(summary),
        references=[
            row | {"shown": wording.seconds(row["seconds"]), "scaled": wording.seconds(row["scaled_seconds"])}
            for row in scaled_references(summary, published)
        ],
        images=wording.count(summary["dataset"]["train_images"]),
    )


def _embeddable(svg: str) -> str:
    """Return the svg element alone, wide as its place, without metadata that names addresses."""
    element = svg[svg.index("<svg") :]
    element = re.sub(r"<metadata>.*?</metadata>", "", element, flags=re.DOTALL)
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1), count=1
    )


def _alternative(summary: dict) -> str:
    """Return the figure in words, for those who cannot see it."""
    rows = [f"{row['cell']} {row['epoch']}, speedup {row['speedup']}" for row in tables.cell_rows(summary)]
    return "Time of one training epoch by cell, fastest first. " + "; ".join(rows) + "."
