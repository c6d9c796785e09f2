"""What derives from a cell's columns: the schemas of sheet and record, the table for people, the contradictions."""

import sys
import typing
from pathlib import Path

from epochbench import networks
from epochbench.errors import BenchmarkError
from epochbench.files import write_text
from epochbench.timing import frameworks
from epochbench.timing.cell import ANY, COLUMNS, DEFAULTS, DEVICES, REQUIRED, Cell
from epochbench.unseen import UNSEEN

JSON_TYPES = {str: "string", int: "integer", type(None): "null"}
# A column of the sheet alone: what a cell is called in words decides nothing that is timed.
LABEL = "label"
LABEL_RULE = {
    "description": "what figure and page call it, without angle brackets, bars and what cannot be seen; empty: words "
    "from its settings",
    "type": "string",
    "pattern": f"^[^{UNSEEN}<>|]{{1,60}}$",
}
# Of a number in a record: more than any cell asks for, and small enough to be drawn.
MAX_RECORDED = 10**15
# Around the table in config/README.md.
BEGIN, END = "<!-- `make format` writes this table from timing/cell.py -->", "<!-- end of the table -->"


def json_types(name: str) -> list[str]:
    """Return the JSON types that a column's values have, from its annotation."""
    annotation = typing.get_type_hints(Cell)[name]
    return [JSON_TYPES[kind] for kind in typing.get_args(annotation) or (annotation,)]


def sheet_schema() -> dict:
    """Return the JSON schema of one row of the sheet; an empty field means the default."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(REQUIRED),
        "properties": {name: _sheet_rule(name) for name in COLUMNS} | {LABEL: LABEL_RULE},
    }


def _sheet_rule(name: str) -> dict:
    declared, types = COLUMNS[name], json_types(name)
    rules = {"description": declared.meaning} | ({"default": DEFAULTS[name]} if name in DEFAULTS else {})
    words = list(declared.allowed())
    if words and "integer" in types:
        number = {"type": "integer", "minimum": declared.minimum}
        return rules | {"anyOf": [number, {"enum": [*([declared.empty] if declared.empty else []), *words, None]}]}
    if words and declared.pattern:
        return rules | {
            "anyOf": [{"enum": words}, {"type": types, "pattern": declared.pattern, "title": declared.forms}]
        }
    if words:
        return rules | {"enum": words}
    bounds = {"pattern": declared.pattern, "minimum": declared.minimum}
    return rules | {"type": types} | {key: value for key, value in bounds.items() if value is not None}


def record_schema() -> dict:
    """Return the JSON schema of a cell inside a record. It admits words that this version does not know."""
    limits = {"minimum": 1, "maximum": MAX_RECORDED, "maxLength": 500}
    rules = {name: {"description": COLUMNS[name].meaning, "type": json_types(name)} | limits for name in COLUMNS}
    rules["device"] = {"description": COLUMNS["device"].meaning, "enum": list(DEVICES)}
    return {
        "description": "The row of the sheet.",
        "type": "object",
        "additionalProperties": False,
        "required": list(COLUMNS),
        "properties": rules,
    }


def column_table() -> list[tuple[str, str, str]]:
    """Return the rows of config/README.md's table: the column, its values with the default in bold, its meaning."""
    rows = [(f"`{name}`", _shown_values(name), declared.meaning) for name, declared in COLUMNS.items()]
    return [*rows, (f"`{LABEL}`", "**empty**, up to 60 characters", LABEL_RULE["description"])]


def with_table(text: str) -> str:
    """Return a Markdown text with the table of the columns written anew between its two markers."""
    before, _, rest = text.partition(BEGIN)
    rows = [f"| {' | '.join(row)} |" for row in column_table()]
    table = "\n".join(["| column | values | meaning |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


def _shown_values(name: str) -> str:
    declared, types = COLUMNS[name], json_types(name)
    if declared.shown:
        return declared.shown
    alone = {word: device for device, words in declared.only.items() if words != ANY for word in words}
    default = declared.empty if DEFAULTS.get(name) is None else str(DEFAULTS[name])
    first = [] if name in REQUIRED else [f"**`{default}`**" if default else "**empty**"]
    open_ended = ["a number"] if "integer" in types else ["a name"] if declared.pattern else []
    words = [f"`{word}`{f' ({alone[word].upper()})' if word in alone else ''}" for word in declared.allowed()]
    rest = [word for word in words if word != f"`{default}`"]
    return ", ".join(first + open_ended + rest) + (" (GPU)" if declared.only.get("gpu") == ANY else "")


def contradictions(cell: Cell) -> list[str]:
    """Return what makes no sense in one cell, a plain reason each."""
    if cell.framework != frameworks.TORCH:
        return [*not_on_this_device(cell), *frameworks.refused(cell.framework, cell)]
    return [*not_on_this_device(cell), *_not_in_this_network(cell), *_do_not_go_together(cell)]


def not_on_this_device(cell: Cell) -> list[str]:
    """Return what of a cell its kind of device does not have, a plain reason each.

    What another framework has there is declared in its own file, but for the columns that every one has.
    """
    reasons, own = [], cell.framework == frameworks.TORCH
    for name, declared in COLUMNS.items():
        if not own and name not in frameworks.OF_ANY:
            continue
        value = getattr(cell, name)
        for device, values in declared.only.items():
            if device != cell.device and value is not None and (values == ANY or value in values):
                others = [word for word in declared.allowed() if word not in values]
                has = " or ".join(others) or "none"
                reasons.append(f"{name} {value} is a {device.upper()}'s; a {cell.device.upper()} has {has}")
    return reasons


def _not_in_this_network(cell: Cell) -> list[str]:
    try:
        has = networks.declared(cell.model)
    except BenchmarkError as error:
        return [str(error)]
    pairs = (("layers", has["LAYERS"]), ("memory_format", has["MEMORY_FORMATS"]))
    return [
        f"{name} {getattr(cell, name)} is not one of model {cell.model}'s, which has {' or '.join(values)}"
        for name, values in pairs
        if getattr(cell, name) not in values
    ]


def _do_not_go_together(cell: Cell) -> list[str]:
    share = cell.batch_size // cell.processes
    opaque, by_hand = cell.memory_format == "onednn", cell.layers == "fused"
    rules = (
        (
            opaque and (cell.precision, cell.execution) != ("fp32", "eager"),
            f"memory_format onednn with precision {cell.precision} and execution {cell.execution} is not supported; "
            "it takes fp32 and eager",
        ),
        (
            opaque and cell.layers == "space_to_depth",
            "layers space_to_depth needs memory_format contiguous or channels_last",
        ),
        (
            by_hand != (cell.memory_format == "blocks"),
            f"layers {cell.layers} with memory_format {cell.memory_format} is not supported; fused needs blocks, and "
            "blocks need fused",
        ),
        (
            by_hand and (cell.precision != "bf16" or cell.execution in ("compile", "compiled_graph")),
            f"layers fused with precision {cell.precision} and execution {cell.execution} is not supported; it takes "
            "bf16, and eager, cuda_graph or epoch_graph",
        ),
        (
            by_hand and (cell.micro_batch is not None or cell.processes > 1),
            "layers fused take a whole batch in one process; leave micro_batch and processes empty",
        ),
        (
            cell.captures_graph and cell.processes > 1,
            f"execution {cell.execution} with processes {cell.processes} is not supported; choose eager or compile",
        ),
        (
            (cell.micro_batch or 0) > cell.batch_size,
            f"micro_batch {cell.micro_batch} is more than batch_size {cell.batch_size}",
        ),
        (
            cell.batch_size % cell.processes != 0,
            f"batch_size {cell.batch_size} cannot be shared equally by {cell.processes} processes",
        ),
        (
            cell.processes > 1 and share < (cell.micro_batch or 0) <= cell.batch_size,
            f"micro_batch {cell.micro_batch} is more than one process's share of the batch, {share}",
        ),
        (
            isinstance(cell.threads, int) and cell.threads < cell.processes,
            f"threads {cell.threads} are fewer than processes {cell.processes}",
        ),
    )
    return [reason for wrong, reason in rules if wrong]


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    write_text(readme, with_table(readme.read_text()))
