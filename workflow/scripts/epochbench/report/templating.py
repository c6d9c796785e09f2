"""The templates of the pages: every text from the outside is escaped, and a name that is not given is an error."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from epochbench.report import numerals


def template(name: str) -> Template:
    """Return a template of the folder beside this file, which can put numbers under each other by their points."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"columns": numerals.columns, "parts": numerals.parts}
    return environment.get_template(name)
