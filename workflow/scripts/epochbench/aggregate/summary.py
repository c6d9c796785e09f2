"""The summary: what all records together say, in frozen dataclasses. Tables, figures, page and console read these.

`workflow/schemas/summary.schema.yaml` describes the same fields in the file; a test compares the two. Times are in
seconds, intervals have the confidence of the settings, and None is "unknown" unless a field says otherwise.
"""

from dataclasses import dataclass

from epochbench.aggregate.settings import Settings
from epochbench.aggregate.standings import Frameworks
from epochbench.records.exchange import Quarantined
from epochbench.stats import Interval
from epochbench.timing.cell import Cell, is_imported
from epochbench.timing.protocol import Protocol
from epochbench.timing.record import Code, Dataset, Finding, Gpu, Peaks

SUMMARY_VERSION = 1


@dataclass(frozen=True)
class DistanceToLimit:
    """A cell's floors at the highest peaks of its machine, and how many times each its typical epoch takes."""

    flop_per_epoch: float  # floating-point operations of the network as published
    operator_bytes_per_epoch: float  # bytes that the operators read and write once
    compulsory_bytes_per_epoch: float  # bytes that no fusion spares: images, labels, weights
    operators_per_step: int  # operators of a step
    operator_estimate_seconds: float  # estimate: the operators one by one, s
    fused_bound_seconds: float  # bound: all arithmetic as published, or the bytes that no fusion spares, s
    bound_by: str  # what takes longest by itself: arithmetic, memory or launches
    times_operator_estimate: float  # epoch time over the estimate
    times_fused_bound: float  # epoch time over the bound


@dataclass(frozen=True)
class TrySummary:
    """One timing of one run, and what the machine did meanwhile."""

    run: int  # number of the run
    number: int  # number of the try within it
    is_last: bool  # whether it is the run's last try, the one that counts if the run does
    median_seconds: float  # median of its epochs, s
    waited_seconds: float  # waited before it for a quiet machine, s
    disturbed_by: list[str]  # what disturbed it, in words; empty where nothing did
    counts: bool  # whether it is in the cell's epoch time


@dataclass(frozen=True)
class ToAccuracy:
    """How long a cell trained until a test accuracy; starting, loading, compiling and evaluating stand apart."""

    accuracy: float  # test accuracy that was asked for, as a share
    runs: int  # runs that were asked for it
    reached: int  # of them, those that got there
    seconds: Interval  # training, s: geometric mean of the runs; from below, without an interval, where one missed it
    epochs: float  # mean over the runs
    fewest_epochs: int  # of all runs
    most_epochs: int  # of all runs
    allowed_epochs: int  # at which a run gave up
    last_accuracy: float  # after the last epoch, as a share, mean over the runs
    evaluation_seconds: float  # all evaluations on the way, which seconds do not hold, mean over the runs, s
    gpu_joules: float | None  # of the training, by the accelerator's own counter, mean over the runs, J
    cpu_joules: float | None  # of the training, of all processor packages, mean over the runs, J
    others_share: float  # of the job's cores, what others took meanwhile, the most of all runs, 0 to 1
    speedup: Interval | None  # how many times sooner than the baseline; None where a run of either missed it

    @property
    def is_known(self) -> bool:
        """Tell whether every run got there, so that the seconds are no mere bound."""
        return self.reached == self.runs


@dataclass(frozen=True)
class CellSummary:
    """What the runs of one cell say together."""

    cell: str  # its name, with @node behind it where it was imported
    label: str  # the same in words, unlike every other cell's
    device: str  # cpu or gpu
    hardware: str  # the GPU's name, with their number before it where there are several; or the CPU's and its cores
    settings: Cell  # the row of the sheet
    runs: int  # number of runs
    epochs: int  # timed epochs of all runs
    epoch_seconds: Interval  # the typical epoch, s: geometric mean of the runs' medians
    median_seconds: float  # of all timed epochs, s
    mean_seconds: float  # of all timed epochs, s
    minimum_seconds: float  # of all timed epochs, s
    relative_spread: float | None  # standard deviation of the runs' medians over their mean; None for one run
    outliers: int  # timed epochs beyond Tukey's fences; none is dropped
    images_per_second: float  # training images over the typical epoch, 1/s
    baseline: str | None  # the cell that the speedup is over; None where nothing is comparable
    speedup: Interval | None  # how many times faster than the baseline
    verdict: str | None  # FASTER, SLOWER, SAME or AMBIGUOUS, by Holm's rule over all cells
    flags: list[str]  # what a reader must know beside the number
    gates: list[Finding]  # each gate's worst finding over the runs
    node: str  # host names of the machines, separated by commas
    valid: bool  # whether no hard gate failed
    start_seconds: float  # process start to first touch of the device, mean over runs, s
    load_seconds: float  # shards to device, mean over runs, s
    first_step_seconds: float  # first training step, compilation included, mean over runs, s
    evaluation_seconds: float | None  # evaluation on the test images, mean over runs, s
    check_seconds: float | None  # what the gates judge, mean over runs, s
    calibration_seconds: float | None  # measuring the peaks, mean over runs, s
    wall_seconds: float  # the whole run, mean over runs, s
    test_accuracy: float  # share of test images classified correctly, mean over runs
    final_loss: float | None  # loss of the last step, mean over runs; None where one is not a number
    steps: int  # training steps of the first run, warm-up included
    parameters: int  # trainable parameters
    peak_memory_bytes: int  # largest of all runs, bytes
    threads: int  # CPU threads that torch reported
    minor_page_faults: int  # during the timed epochs, mean over runs
    lock_wait_seconds: float  # waited for other jobs, sum over runs, s
    limit: DistanceToLimit | None  # None where no run was calibrated
    gpu_joules_per_epoch: float | None  # by the accelerator's own counter, J
    cpu_joules_per_epoch: float | None  # of all processor packages, J
    cost_per_epoch: float | None  # in the settings' currency; None without a price
    tries: list[TrySummary]  # every timing of every run; empty where records before version 4 have none
    to_accuracy: ToAccuracy | None = None  # None where no accuracy was asked for

    @property
    def disturbed_runs(self) -> int:
        """Return how many runs ended disturbed, after all their tries."""
        return len({one.run for one in self.tries if one.is_last and one.disturbed_by})

    @property
    def counts(self) -> bool:
        """Tell whether the cell was timed here and passed its hard gates."""
        return self.valid and not is_imported(self.cell)


@dataclass(frozen=True)
class Fair:
    """The headline's cell against the fastest CPU cell."""

    cell: str  # the fastest CPU cell
    speedup: Interval  # how many times faster the headline's cell is
    sentence: str  # the same in words


@dataclass(frozen=True)
class EqualPrecision:
    """The fastest cells of both sides that compute in one precision."""

    precision: str  # of both
    slow: str  # the fastest cell of the baseline's device; the baseline where both sides are one device
    fast: str  # the fastest cell of the leading cell's device
    speedup: Interval  # how many times faster
    sentence: str  # the same in words


@dataclass(frozen=True)
class Headline:
    """The comparison to lead with, of cells that were timed here unless the config names others."""

    baseline: str  # the slower side: the baseline's cell
    best: str  # the fastest GPU cell, the fastest CPU cell without a GPU, or the cell that the config names
    speedup: Interval  # how many times faster the best is than the baseline
    plain: str  # both ratios in words that need no knowledge of cells
    sentence: str  # the comparison in words: hardware, number of devices and precision of both sides
    close: int  # cells, the best included, that it was picked from as its first runs tell; 1 where none is close
    fair: Fair | None  # None where the fastest CPU cell is one of the two
    equal_precision: list[EqualPrecision]  # one for each precision that both sides have
    replay: dict[str, float]  # the speedup by each other estimator, over all epochs

    @property
    def details(self) -> list[str]:
        """Return the sentences below the plain one: each ratio with its interval, cells and precision."""
        fair = [f"Against the best CPU cell: {self.fair.sentence}"] if self.fair else []
        return [self.sentence, *self._picked(), *fair, *(one.sentence for one in self.beside)]

    def _picked(self) -> list[str]:
        """Return a sentence where the best is the fastest of cells that its first runs do not tell apart."""
        if self.close == 1 or self.speedup.low is None:
            return []
        picked = f"{self.best} is the fastest of {self.close} cells that its first runs do not tell apart"
        return [f"{picked}, which its interval allows for."]

    @property
    def beside(self) -> list[EqualPrecision]:
        """Return the ratios at equal precision that neither the headline nor its fair comparison says already."""
        said = {(self.baseline, self.best), (self.fair.cell, self.best) if self.fair else None}
        return [one for one in self.equal_precision if (one.slow, one.fast) not in said]


@dataclass(frozen=True)
class Rung:
    """One step from the headline's baseline to its best cell; the factors multiply to its ratio."""

    cell: str  # its name
    device: str  # cpu or gpu
    changed: str | None  # all that it changes, in words; None for the first
    settings: str | None  # the same in the sheet's words; None for the first
    seconds: float  # its typical epoch, s
    factor: Interval | None  # how many times faster than the rung before; None for the first


@dataclass(frozen=True)
class Batch:
    """The fastest cell of each device at one batch size."""

    batch_size: int  # images in a step
    cpu: str  # the fastest CPU cell
    gpu: str  # the fastest GPU cell
    times_faster: float  # how many times faster the GPU cell is


@dataclass(frozen=True)
class BreakEven:
    """When the headline's GPU cell pays."""

    cpu: str  # the CPU cell it is held against
    gpu: str  # the headline's GPU cell
    extra_seconds: float  # how much longer start, loading and first step take on the GPU, s
    epochs: float | None  # epochs that repay them; 0: nothing to repay; None: never
    batches: list[Batch]  # each batch size that both devices were timed at; empty with fewer than two
    batch_size: int | None  # the smallest from which on the GPU is faster; None where it never is


@dataclass(frozen=True)
class CodeVersion(Protocol, Code):
    """A version of the code that measured, and the protocol it followed: the fields of both."""


@dataclass(frozen=True)
class GateDemand:
    """What a gate demands."""

    gate: str  # its name
    severity: str  # hard or soft
    demand: str  # what must be true


@dataclass(frozen=True)
class MachineSummary:
    """A machine as its records describe it, without what belongs to one job, and its peaks."""

    fingerprint: str  # one word for this hardware
    node: str  # host name
    system: str  # operating system
    cpu: str  # processor
    cores_usable: int  # cores that the process might use
    memory_bytes: int  # main memory, bytes
    sockets: int | None  # processor sockets
    physical_cores: int | None  # cores without simultaneous multithreading
    threads_per_core: int | None  # threads that a core runs at once
    numa_nodes: int | None  # NUMA nodes
    governor: str | None  # frequency governor
    gpu: Gpu | None  # the GPU that was used; None for none
    python: str  # version of Python
    torch: str  # version of torch
    cuda: str | None  # version of CUDA; None without
    peaks: Peaks | None  # the highest that calibration reached; None where no run was calibrated


@dataclass(frozen=True)
class NodeValue:
    """One machine's value of a fact."""

    node: str  # host name
    value: object  # as the machine's summary has it


@dataclass(frozen=True)
class Difference:
    """A fact in which the machines differ."""

    fact: str  # the field of MachineSummary
    values: list[NodeValue]  # one for each machine


@dataclass(frozen=True)
class Missing:
    """A run that failed."""

    cell: str  # its cell
    run: int  # its number, from 1
    error: str  # the last words of its log


@dataclass(frozen=True)
class Summary:
    """What all records together say."""

    dataset: Dataset  # what the baseline, or else the first record, was trained on
    settings: Settings  # how samples became numbers
    headline: Headline | None  # None without two comparable cells
    ladder: list[Rung]  # the headline's ratio, one change at a time; empty where the sheet is no chain to it
    break_even: BreakEven | None  # None without a GPU in the headline
    frameworks: Frameworks | None  # None where there is one alone, and the sheet names no other
    code: list[CodeVersion]  # every version of the code that measured
    gates: list[GateDemand]  # the gates that judge each record
    cells: list[CellSummary]  # in the order of the records
    machines: list[MachineSummary]  # every machine, once
    differences: list[Difference]  # the facts in which the machines differ
    left_out: list[Quarantined]  # files that were no valid records
    failed: list[Missing]  # runs that wrote no record
    notes: list[str]  # what must be said beside every result
    answer: list[str]  # the answer in two lines; the second is empty where there is nothing more to say
    schema_version: int = SUMMARY_VERSION  # of this file

    @property
    def has_intervals(self) -> bool:
        """Tell whether any cell has an interval: a single run has none."""
        return any(row.epoch_seconds.low is not None for row in self.cells)

    @property
    def labels(self) -> dict[str, str]:
        """Return every cell in words, by its name."""
        return {row.cell: row.label for row in self.cells}
