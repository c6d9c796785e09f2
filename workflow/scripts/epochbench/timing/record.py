"""What a run wrote: frozen dataclasses, units in their names."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field

from epochbench.documents import to_dict
from epochbench.timing.cell import Cell
from epochbench.timing.protocol import Protocol

SCHEMA_VERSION = 7
# A deviation may be this many times what rounding is expected to do. Another library sums in another order, or by
# another algorithm (Winograd, FFT): on an H100 the updates of lenet and ResNet-18 in fp32, TF32 and bf16 were off by
# 0.8 to 1.5 times what is expected, and losses by 3 times.
ROUNDING_FACTOR = 10
# The counted FLOP over the measured peak bound any epoch; the peak itself is known to about this.
PEAK_UNCERTAINTY = 1.05


@dataclass(frozen=True)
class Dataset:
    """What was trained on; `fingerprint` is the SHA-256 of every image and label, whatever the shard size.

    `image_shape` is channels, height and width.
    """

    name: str
    synthetic: bool
    fingerprint: str
    train_images: int
    test_images: int
    image_shape: list[int]
    classes: int


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
    """What the epochs did: the work, the rate of its updates, and whether the network learned."""

    parameters: int
    steps_per_epoch: int
    warmup_losses: list[float | None]
    epoch_losses: list[float | None]
    test_accuracy: float
    peak_memory_bytes: int
    learning_rate: float | None = None


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
class GpuWatch:
    """What a process of its own saw of the card while the clock ran; None where the driver does not tell.

    Clocks are those of samples in which the card had work. `held_shares` has the share of samples in which a reason
    held the clocks down, `violation_seconds` the driver's own count by kind, `processes` the most others at once. Of a
    team's cards it has the worst of each, and the watts of all.
    """

    samples: int
    seconds: float
    sm_clock_min_mhz: int | None
    sm_clock_median_mhz: int | None
    sm_clock_max_mhz: int | None
    power_median_watts: float | None
    held_shares: dict[str, float] | None
    violation_seconds: dict[str, float] | None
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
    gpu_watch: GpuWatch | None = None


@dataclass(frozen=True)
class Peaks:
    """What this device reached when it was calibrated, after the clock had stopped; FLOP/s by precision."""

    matrix_flop_per_second: dict[str, float]
    memory_bytes_per_second: float
    launches_per_second: float


@dataclass(frozen=True)
class OperatorWork:
    """What one operator of the cell's own graph does in an epoch: FLOP, and bytes read and written once."""

    flop: float
    bytes: float


@dataclass(frozen=True)
class Limit:
    """The work of one epoch, and the least time that the peaks leave it: floors.py says how they are counted.

    `operators` is empty and `launches_per_epoch` None in records before version 4, which counted the published graph.
    """

    flop_per_epoch: float
    operator_bytes_per_epoch: float
    compulsory_bytes_per_epoch: float
    operators_per_step: int
    operator_estimate_seconds: float
    fused_bound_seconds: float
    bound_by: str
    launches_per_epoch: float | None = None
    operators: list[OperatorWork] = field(default_factory=list)

    def arithmetic_seconds(self, peaks: Peaks, precision: str) -> float:
        """Return how long an epoch's FLOP take at the measured peak of a precision."""
        return self.flop_per_epoch / peaks.matrix_flop_per_second[precision]

    def is_possible(self, epoch_seconds: float, peaks: Peaks, precision: str) -> bool:
        """Tell whether an epoch can take so few seconds, with room for the peak's own uncertainty."""
        return epoch_seconds * PEAK_UNCERTAINTY >= self.arithmetic_seconds(peaks, precision)


@dataclass(frozen=True)
class Try:
    """One timing of a run's epochs, and what the machine did meanwhile.

    Shares are of the cores that the job may use, from 0 to 1; `steal_share` is None where the kernel does not tell.
    `disturbed_by` is empty where nothing disturbed it.
    """

    epoch_seconds: list[float]
    waited_seconds: float
    others_share: float
    steal_share: float | None
    matrix_flop_per_second: float
    disturbed_by: list[str]


@dataclass(frozen=True)
class Stack:
    """The software and settings beside the code that decide a timing: a digest, and the facts behind it."""

    digest: str
    facts: dict[str, str]


@dataclass(frozen=True)
class FirstStep:
    """How far one of the first steps is from float64, and how far it may be expected to be; all are relative.

    `update` is the weights' change since the first step began. What is expected is the deviation of the same steps on
    the CPU, rounded as the cell's precision rounds: of a single image's loss, and of the update. `plain` is the
    update's deviation in fp32. None is not a number.
    """

    loss_deviation: float | None
    update_deviation: float | None
    expected_loss_deviation: float | None
    expected_update_deviation: float | None
    plain_update_deviation: float | None


@dataclass(frozen=True)
class FirstEpoch:
    """How far a whole epoch from the first weights is from float64, taken by the very function that is timed.

    `loss_deviation` is that of a batch's mean loss, in the step in which it exceeds most what is expected of it, of the
    first `compared_losses`: rounding may move those after them anywhere. `update_deviation` is that of the weights'
    change in all; what is expected is the deviation of torch's own epoch on the CPU, rounded as the cell's precision
    rounds. All are relative, and None is not a number, or nothing to compare.

    `late_shares` are how much of what each of the last steps moves is in the weights, of which all is 1, and what is
    expected is how far from that they are.

    The losses are those of three epochs, one before the timing, the first timed one, and one after it, whose weights
    are the ones looked at. Before version 7 it was the first alone, and `late_shares` are empty.
    """

    steps: int
    compared_losses: int
    loss_deviation: float | None
    update_deviation: float | None
    expected_loss_deviation: float | None
    expected_update_deviation: float | None
    late_shares: list[float | None]
    expected_late_deviations: list[float | None]


@dataclass(frozen=True)
class Evidence:
    """What the gates judge: counts, deviations and bounds, taken beside the timing and never inside it.

    `first_steps` is empty in records before version 4, and what was not looked at in them is None. `first_epoch` and
    `late_seconds`, how late an epoch's results were after its clock, are of frameworks other than torch.
    """

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
    between_seconds: float | None = None
    first_steps: list[FirstStep] = field(default_factory=list)
    train_images_evaluated: int | None = None
    train_loss: float | None = None
    train_accuracy: float | None = None
    first_epoch: FirstEpoch | None = None
    late_seconds: float | None = None


@dataclass(frozen=True)
class UntilAccuracy:
    """A training of its own, from new weights until a test accuracy, or for as many epochs as the protocol allows.

    Where it was not `reached`, the seconds of its epochs tell only how long that takes at least. `test_accuracies` are
    those after each epoch. Joules are of the training alone; None is "unknown". `others_share` is what others took of
    the cores meanwhile, from 0 to 1.
    """

    accuracy: float
    reached: bool
    seed: int
    epoch_seconds: list[float]
    test_accuracies: list[float]
    counted_images: int
    evaluation_seconds: float
    gpu_energy_joules: float | None
    cpu_energy_joules: float | None
    others_share: float


@dataclass(frozen=True)
class Network:
    """What was found out about the network before it was timed, from a few images.

    `randomness` is none where training draws no random numbers, "switched off" where it draws them but for the check of
    its first steps, and "always" where it draws them even then. `unreached` are the parameters that no gradient
    reaches, `state` how many buffers training moves, such as batch normalisation's. `unchecked` says why its first
    steps are not compared with float64, None where they are.
    """

    source: str
    randomness: str
    unreached: list[str]
    state: int
    own_loss: bool
    unchecked: str | None = None


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
    """One run of one cell: one fresh process.

    `first_runs` is how many of the first stage there were; a run of a higher number was added to narrow an interval.
    Of its `tries` the last one counts; `timing`, `conditions`, `evidence` and `peaks` are of that one. `until_accuracy`
    is None where the protocol asks for none.
    """

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
    stack: Stack | None = None
    first_runs: int | None = None
    tries: list[Try] = field(default_factory=list)
    until_accuracy: UntilAccuracy | None = None
    network: Network | None = None
    gates: list[Finding] = field(default_factory=list)
    checksum: str = ""
    schema_version: int = SCHEMA_VERSION


def checksum(record: Record) -> str:
    """Return the SHA-256 of all that was measured: everything but the verdicts on it and the checksum itself."""
    return document_checksum(to_dict(record))


def document_checksum(document: dict) -> str:
    """Return the same of a record that is still a plain dictionary."""
    measured = {key: value for key, value in document.items() if key not in ("checksum", "gates")}
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def seal(record: Record) -> Record:
    """Return the record with its checksum."""
    return dataclasses.replace(record, checksum=checksum(record))


def runs_by_cell(records: list[Record]) -> dict[str, list[Record]]:
    """Return the runs of each cell, cells and runs in the order in which they came."""
    cells = {}
    for record in records:
        cells.setdefault(record.cell.cell, []).append(record)
    return cells
