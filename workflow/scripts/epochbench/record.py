"""What a run wrote: frozen dataclasses, units in their names, and the JSON they live in."""

import contextlib
import dataclasses
import hashlib
import json
import os
import typing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from epochbench.errors import BenchmarkError

SCHEMA_VERSION = 2
MAX_RECORD_BYTES = 4 * 2**20
# What version 1 did not time: the parts of a run behind the clock.
AFTERWARDS = ("evaluation_seconds", "check_seconds", "calibration_seconds")
SCHEMA_PATH = Path(__file__).parents[2] / "schemas" / "record.schema.yaml"


@dataclass(frozen=True)
class Cell:
    """One row of the sheet: what is trained, on what, and how."""

    cell: str
    device: str
    model: str = "lenet"
    precision: str = "fp32"
    batch_size: int = 1000
    micro_batch: int | None = None
    memory_format: str = "contiguous"
    layers: str = "published"
    execution: str = "eager"
    autotune: str = "off"
    allocator: str = "system"
    threads: int | str | None = None
    processes: int = 1
    gpu_model: str | None = None
    constraint: str | None = None

    @property
    def captures_graph(self) -> bool:
        """Tell whether the step is captured once and replayed, one launch for all its kernels."""
        return self.execution in ("cuda_graph", "compiled_graph")


def is_imported(cell: str) -> bool:
    """Tell whether a cell came with an export: its name then ends in the node that it was timed on."""
    return "@" in cell


def threads_of(asked: int | str | None, cores: int) -> int:
    """Return how many threads a cell's `threads` means: a number, a share such as 1/2 (at least 1), or None for all."""
    if isinstance(asked, str):
        return max(1, cores // int(asked.removeprefix("1/")))
    return asked or cores


@dataclass(frozen=True)
class Protocol:
    """How a run is timed; the counts are of steps or epochs, `max_seconds` of the timed part alone."""

    warmup_steps: int = 10
    min_epochs: int = 2
    max_epochs: int = 1000
    min_steps: int = 100
    min_seconds: float = 2.0
    max_seconds: float = 8.0
    precision: float = 0.01
    seed: int = 2021
    learning_rate: float = 0.01
    momentum: float = 0.9


@dataclass(frozen=True)
class Dataset:
    """What was trained on; `fingerprint` is the SHA-256 of every image and label, whatever the shard size."""

    name: str
    synthetic: bool
    fingerprint: str
    train_images: int
    test_images: int


@dataclass(frozen=True)
class Timing:
    """Raw times of one run, in seconds. `event_seconds` is the accelerator's own clock, None on a CPU."""

    epoch_seconds: list[float]
    event_seconds: list[float] | None
    start_seconds: float
    load_seconds: float
    first_step_seconds: float
    warmup_seconds: float
    images_per_second: float
    evaluation_seconds: float | None = None
    check_seconds: float | None = None
    calibration_seconds: float | None = None


@dataclass(frozen=True)
class Training:
    """What the epochs did: the work, and whether the network learned."""

    parameters: int
    steps_per_epoch: int
    warmup_losses: list[float | None]
    epoch_losses: list[float | None]
    test_accuracy: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Gpu:
    """The accelerator that was used; None where the driver does not tell."""

    name: str
    memory_bytes: int
    driver: str | None
    uuid: str | None


@dataclass(frozen=True)
class Machine:
    """The machine seen from inside the job."""

    fingerprint: str
    node: str
    system: str
    cpu: str
    cores_usable: int
    memory_bytes: int
    sockets: int | None
    physical_cores: int | None
    threads_per_core: int | None
    numa_nodes: int | None
    governor: str | None
    gpu: Gpu | None
    python: str
    torch: str
    cuda: str | None
    slurm_job: str | None


@dataclass(frozen=True)
class GpuState:
    """What the driver says of the card at one moment; None where it does not tell."""

    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    temperature_celsius: int | None
    power_limit_watts: float | None
    throttle_reasons: list[str] | None
    processes: int | None


@dataclass(frozen=True)
class Conditions:
    """What the machine did meanwhile. Counts and CPU seconds cover the timed epochs; None is "unknown"."""

    threads: int
    allocator: str
    lock_wait_seconds: float
    load_average: float | None
    minor_page_faults: int
    involuntary_context_switches: int
    own_cpu_seconds: float
    other_cpu_seconds: float | None
    steal_seconds: float | None
    gpu_energy_joules: float | None
    cpu_energy_joules: float | None
    flags: dict[str, str]
    environment: dict[str, str]
    gpu_before: GpuState | None
    gpu_after: GpuState | None


@dataclass(frozen=True)
class Peaks:
    """What this device reached when it was calibrated, after the clock had stopped; FLOP/s by precision."""

    matrix_flop_per_second: dict[str, float]
    memory_bytes_per_second: float
    launches_per_second: float


@dataclass(frozen=True)
class Limit:
    """The work of one epoch, and the least time that the peaks leave it: roofline.py says how they are counted."""

    flop_per_epoch: float
    operator_bytes_per_epoch: float
    compulsory_bytes_per_epoch: float
    operators_per_step: int
    operator_floor_seconds: float
    fused_floor_seconds: float
    bound_by: str


@dataclass(frozen=True)
class Evidence:
    """What the gates judge: counts, deviations and bounds, taken beside the timing and never inside it."""

    counted_steps: int
    counted_images: int
    parameters_moved: float
    test_loss: float | None
    checked_steps: int
    loss_deviation: float | None
    update_deviation: float | None
    tf32_allowed: bool | None
    outer_seconds: float
    step_seconds: float
    subnormal_share: float


@dataclass(frozen=True)
class Finding:
    """What a gate found; `passed` is None where it could not be judged."""

    gate: str
    severity: str
    passed: bool | None
    sentence: str


@dataclass(frozen=True)
class Code:
    """The source that measured: the digest of the modules that decide a timing, and the commit."""

    digest: str
    commit: str | None


@dataclass(frozen=True)
class Record:
    """One run of one cell: one fresh process."""

    cell: Cell
    run: int
    started_at: str
    wall_seconds: float
    protocol: Protocol
    dataset: Dataset
    timing: Timing
    training: Training
    machine: Machine
    conditions: Conditions
    evidence: Evidence
    peaks: Peaks | None
    limit: Limit | None
    code: Code
    gates: list[Finding] = field(default_factory=list)
    checksum: str = ""
    schema_version: int = SCHEMA_VERSION


def runs_by_cell(records: list[Record]) -> dict[str, list[Record]]:
    """Return the runs of each cell, cells and runs in the order in which they came."""
    cells = {}
    for record in records:
        cells.setdefault(record.cell.cell, []).append(record)
    return cells


def checksum(record: Record) -> str:
    """Return the SHA-256 of all that was measured: everything but the verdicts on it and the checksum itself."""
    return _document_checksum(to_dict(record))


def _document_checksum(document: dict) -> str:
    measured = {key: value for key, value in document.items() if key not in ("checksum", "gates")}
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def seal(record: Record) -> Record:
    """Return the record with its checksum."""
    return dataclasses.replace(record, checksum=checksum(record))


def write_text(path, text: str) -> None:
    """Write a file whole or not at all: a temporary name beside it, then a rename."""
    write_bytes(path, text.encode())


def write_bytes(path, content: bytes) -> None:
    """Write bytes whole or not at all; the file gets the user's own umask."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(value) -> str:
    """Return the text of a JSON file; NaN is refused, since JSON has none."""
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_json(path, value) -> None:
    """Write JSON whole or not at all."""
    write_text(path, to_json(value))


def write_record(path, record: Record) -> None:
    """Validate a record and write it as JSON, whole or not at all."""
    document = to_dict(record)
    _validate(document, path)
    write_json(path, document)


def read_record(path) -> Record:
    """Read and validate a record.

    Raises BenchmarkError, naming the file and every key that is wrong, for anything that is no valid record.
    """
    try:
        content = _read_bounded(Path(path))
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable as a record ({error}); delete it and run again") from error
    return parse_record(content, path)


def _read_bounded(path: Path) -> bytes:
    """Read a file that may hold anything; no record is larger than a few hundred kilobytes."""
    if path.stat().st_size > MAX_RECORD_BYTES:
        raise ValueError(f"larger than {MAX_RECORD_BYTES // 2**20} MiB")
    return path.read_bytes()


def parse_record(content: bytes, path) -> Record:
    """Parse and validate a record; `path` is what an error names."""
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BenchmarkError(f"{path}: not readable as a record ({error}); delete it and run again") from error
    document = migrate(document, path)
    _validate(document, path)
    return from_dict(Record, document)


def migrate(document, path):
    """Bring an older record to this version: what it did not measure is null, and its checksum is made anew if right.

    Raises BenchmarkError for a version that is newer than this code.
    """
    version = document.get("schema_version") if isinstance(document, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise BenchmarkError(
            f"{path}: schema_version {version} is newer than this code (version {SCHEMA_VERSION}); update epochbench"
        )
    if version != 1:
        return document
    untouched = document.get("checksum") == _document_checksum(document)
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # what is missing, the validation names
        document = _from_version_1(document)
    return document | {"checksum": _document_checksum(document)} if untouched else document


def _from_version_1(old: dict) -> dict:
    """Add what version 2 brought: the settings of that time, and null for what was not measured."""
    settings = {"layers": "published", "autotune": "off", "gpu_model": None, "constraint": None}
    unknown = {"gpu_energy_joules": None, "cpu_energy_joules": None, "flags": {}}
    untimed = dict.fromkeys(AFTERWARDS)
    gone = ("flop_per_epoch", "peak_flop_per_second")
    evidence = {key: value for key, value in old["evidence"].items() if key not in gone}
    return old | {
        "schema_version": 2,
        "cell": old["cell"] | settings,
        "machine": old["machine"] | {"threads_per_core": None},
        "conditions": old["conditions"] | unknown,
        "timing": old["timing"] | untimed,
        "evidence": evidence,
        "peaks": None,
        "limit": None,
    }


def from_dict(kind, document: dict):
    """Build a dataclass, and those within it, from plain dictionaries."""
    nested = _nested(kind)
    return kind(**{key: _convert(nested[key], value) if key in nested else value for key, value in document.items()})


def to_dict(record) -> dict:
    """Return a dataclass, and those within it, as plain dictionaries: dataclasses.asdict without its deep copies."""
    found = {name: getattr(record, name) for name in record.__dataclass_fields__}
    for name in _nested(type(record)):
        value = found[name]
        if value is not None:
            found[name] = [to_dict(item) for item in value] if isinstance(value, list) else to_dict(value)
    return found


@cache
def _nested(kind) -> dict:
    """Return the fields of a dataclass that hold another one, or a list of it, and which."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        inner = next((part for part in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(part)), None)
        if inner:
            found[name] = inner
    return found


def _convert(kind, value):
    if isinstance(value, list):
        return [from_dict(kind, item) for item in value]
    return None if value is None else from_dict(kind, value)


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON's")


@cache
def _schema() -> dict:
    # Imported here as below, since every job imports this module and most read no record: a tenth of a second each.
    import yaml

    return yaml.safe_load(SCHEMA_PATH.read_text())


@cache
def _quick_validator():
    """Return a compiled check; it is hundreds of times as fast as the one that lists every mistake."""
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema())


@cache
def _validator():
    from jsonschema import Draft202012Validator

    return Draft202012Validator(_schema())


def _validate(document, path) -> None:
    if _quick_validator().is_valid(document):
        return
    problems = [
        f"{'.'.join(map(str, error.absolute_path)) or 'the record'}: {error.message[:200]}"
        for error in _validator().iter_errors(document)
    ]
    if problems:
        raise BenchmarkError(f"{path}: not a valid record; delete it and run again\n  " + "\n  ".join(problems))
