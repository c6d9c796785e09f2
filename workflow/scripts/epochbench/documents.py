"""Frozen dataclasses to and from the plain dictionaries that JSON holds, and the check of those by a schema."""

import dataclasses
import typing
from collections.abc import Callable
from functools import cache

from epochbench.errors import BenchmarkError

Kind = typing.TypeVar("Kind")


def from_dict(kind: type[Kind], document: dict) -> Kind:
    """Build a dataclass, and those within it, from plain dictionaries."""
    nested = _nested(kind)
    return kind(**{key: _convert(nested[key], value) if key in nested else value for key, value in document.items()})


def to_dict(instance: object) -> dict:
    """Return a dataclass, and those within it, as plain dictionaries: dataclasses.asdict without its deep copies."""
    values = {name: getattr(instance, name) for name in instance.__dataclass_fields__}
    for name in _nested(type(instance)):
        value = values[name]
        if value is not None:
            values[name] = [to_dict(item) for item in value] if isinstance(value, list) else to_dict(value)
    return values


def check(document: object, schema: Callable[[], dict], complaint: str) -> None:
    """Raise BenchmarkError, the complaint and a line for each wrong key, where a document is not as its schema says."""
    if _quick_check(schema).is_valid(document):
        return
    from epochbench.schemas import mistakes

    problems = [
        f"{'.'.join(map(str, error.absolute_path)) or 'the whole'}: {error.message[:200]}"
        for error in mistakes(schema(), document)
    ]
    if problems:
        raise BenchmarkError("\n  ".join([complaint, *problems]))


@cache
def _quick_check(schema: Callable[[], dict]):
    """Return a compiled check, hundreds of times as fast as the one that lists every mistake."""
    # Imported here and above, since every job imports this module and most check nothing: a tenth of a second each.
    import jsonschema_rs

    return jsonschema_rs.validator_for(schema())


@cache
def _nested(kind) -> dict:
    """Return the fields of a dataclass that hold another one, or a list of it, and which."""
    nested = {}
    for name, hint in typing.get_type_hints(kind).items():
        inner = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
        if inner:
            nested[name] = inner
    return nested


def _convert(kind, value):
    if isinstance(value, list):
        return [from_dict(kind, item) for item in value]
    return None if value is None else from_dict(kind, value)
