"""Checks by JSON schema: defaults filled in, and every mistake a plain line."""

import re
import typing
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

SCHEMAS = Path(__file__).parents[2] / "schemas"
SCALARS = ("integer", "number", "boolean")
NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@cache
def load_schema(name: str) -> dict:
    """Return a schema of workflow/schemas by its name: config, record or summary."""
    return yaml.safe_load((SCHEMAS / f"{name}.schema.yaml").read_text())


def mistakes(schema: dict, value: object) -> Iterator[ValidationError]:
    """Yield every place in which a value is not as a schema says."""
    return Draft202012Validator(schema).iter_errors(value)


def with_defaults(schema: dict, value: object) -> typing.Any:
    """Return a copy with the schema's defaults, as deep as there are objects; what is not an object stays."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for key, part in schema.get("properties", {}).items():
        if key not in filled and "default" in part:
            filled[key] = part["default"]
        if key in filled and part.get("type") == "object":
            filled[key] = with_defaults(part, {} if filled[key] is None else filled[key])
        elif isinstance(filled.get(key), str) and (part.get("type") in SCALARS or "anyOf" in part):
            filled[key] = _read_scalar(filled[key])
        if part.get("type") == "integer" and isinstance(filled.get(key), float) and filled[key].is_integer():
            filled[key] = int(filled[key])  # 3.0 is a whole number to the schema, but not to range()
    return filled


def _read_scalar(text: str):
    """Read a number or truth value as YAML would: Snakemake hands on those inside `--config key='{...}'` as text."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        return text
    return value if isinstance(value, bool | int | float) else text


def explain(error: ValidationError) -> str:
    """Return one mistake in a line of the user's words: the key, its value, and what is allowed."""
    key = ".".join(map(str, error.absolute_path))
    if error.validator == "additionalProperties":
        known = error.schema["properties"]
        unknown = [name for name in error.instance if name not in known]
        names = ", ".join(f"'{key}.{name}'" if key else f"'{name}'" for name in unknown)
        return f"{names}: unknown key; known here are {', '.join(known)}"
    return f"{key or 'the config'}: {reason(error)}"


def reason(error: ValidationError) -> str:
    """Return what is wrong with a value, without naming its key."""
    value, rule = error.instance, error.validator_value
    # A character that cannot be seen, or that turns the line's direction, is shown by its number.
    quoted = f"'{value}'" if isinstance(value, str) and value.isprintable() else repr(value)
    shown = quoted if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    if error.validator == "type" and isinstance(value, str) and NUMBER.fullmatch(value):
        return f"{shown} is text; YAML reads a number only with a point and a sign, such as 1.0e-3"
    return {
        "enum": lambda: f"{shown} is not one of {', '.join(map(str, rule))}",
        "type": lambda: f"{shown} is not of type {rule if isinstance(rule, str) else ' or '.join(rule)}",
        "minimum": lambda: f"{shown} is less than {rule}",
        "maximum": lambda: f"{shown} is more than {rule}",
        "exclusiveMinimum": lambda: f"{shown} must be more than {rule}",
        "exclusiveMaximum": lambda: f"{shown} must be less than {rule}",
        "pattern": lambda: f"{shown} does not look as it must: {error.schema.get('description', rule)}",
        "anyOf": lambda: f"{shown} is neither {' nor '.join(map(_allowed, rule))}",
        "required": lambda: error.message,
    }.get(error.validator, lambda: error.message[:200])()


def _allowed(rule: dict) -> str:
    """Return one alternative of several in words."""
    if "enum" in rule:
        return f"one of {', '.join(str(value) for value in rule['enum'] if value is not None)}"
    if "title" in rule:
        return rule["title"]
    return f"a whole number from {rule['minimum']} on"
