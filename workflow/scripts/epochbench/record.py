"""What a run wrote: frozen dataclasses, units in their names, and the JSON they live in."""

import dataclasses
import hashlib
import json
import os
import types
import typing
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from epochbench.errors import BenchmarkError

SCHEMA_VERSION = 1
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
    execution: str = "eager"
    allocator: str = "system"
    threads: int | None = None
    processes: int = 1


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
    environment: dict[str, str]
    gpu_before: GpuState | None
    gpu_after: GpuState | None


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
    flop_per_epoch: float
    peak_flop_per_second: float
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
    code: Code
    gates: list[Finding] = field(default_factory=list)
    checksum: str = ""
    schema_version: int = SCHEMA_VERSION


def checksum(record: Record) -> str:
    """Return the SHA-256 of all that was measured: everything but the verdicts on it and the checksum itself."""
    document = dataclasses.asdict(record)
    del document["checksum"], document["gates"]
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


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


def write_json(path, value) -> None:
    """Write JSON whole or not at all; NaN is refused, since JSON has none."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_record(path, record: Record) -> None:
    """Validate a record and write it as JSON, whole or not at all."""
    document = dataclasses.asdict(record)
    _validate(document, path)
    write_json(path, document)


def read_record(path) -> Record:
    """Read and validate a record.

    Raises BenchmarkError, naming the file and every key that is wrong, for anything that is no valid record.
    """
    try:
        document = json.loads(Path(path).read_text(), parse_constant=_refuse_constant)
    except (OSError, ValueError) as error:
        raise BenchmarkError(f"{path}: not readable as a record ({error}); delete it and run again") from error
    _validate(document, path)
    return from_dict(Record, document)


def from_dict(kind, document: dict):
    """Build a dataclass, and those within it, from plain dictionaries."""
    hints = typing.get_type_hints(kind)
    return kind(**{key: _convert(hints[key], value) for key, value in document.items()})


def _convert(hint, value):
    """Turn dictionaries into the dataclass that the type hint names, and leave any other value alone."""
    if typing.get_origin(hint) is list:
        return [_convert(typing.get_args(hint)[0], item) for item in value]
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    nested = next((option for option in options if dataclasses.is_dataclass(option)), None)
    return from_dict(nested, value) if nested and value is not None else value


def _refuse_constant(name):
    raise ValueError(f"{name} is no number of JSON's")


@cache
def _validator():
    # Imported here, since every job imports this module and most read no record: a tenth of a second each.
    import yaml
    from jsonschema import Draft202012Validator

    return Draft202012Validator(yaml.safe_load(SCHEMA_PATH.read_text()))


def _validate(document, path) -> None:
    problems = [
        f"{'.'.join(map(str, error.absolute_path)) or 'the record'}: {error.message[:200]}"
        for error in _validator().iter_errors(document)
    ]
    if problems:
        raise BenchmarkError(f"{path}: not a valid record; delete it and run again\n  " + "\n  ".join(problems))
