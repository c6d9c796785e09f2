"""The templates of the pages: every text from the outside is escaped and has nothing that cannot be seen.

A name that is not given is an error.
"""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from epochbench.report import numerals
from epochbench.unseen import visible


def template(name: str) -> Template:
    """Return a template of the folder beside this file, which can put numbers under each other by their points."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"columns": numerals.columns, "parts": numerals.parts}
    return environment.get_template(name)


def _shown(value: object) -> object:
    """Return a text as it is shown; what is markup already is left as it is."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
