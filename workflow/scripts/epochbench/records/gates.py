"""Gates: what must be true for a number to count. Each is a pure function of a record that gives its reason in words.

A hard gate that fails means that the number is wrong; a soft one, that it is less certain. A gate that cannot be judged
on a record (too few steps to learn, no events on a CPU) says so and neither passes nor fails.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from epochbench.records.judges import Verdict
from epochbench.records.judges.arithmetic import precision_used, same_arithmetic
from epochbench.records.judges.card import full_clock
from epochbench.records.judges.clocks import only_training, synchronised
from epochbench.records.judges.learning import it_learned
from epochbench.timing.cell import COLUMNS, is_imported, threads_of
from epochbench.timing.quiet import MAX_OTHERS_SHARE, MAX_STEAL_SHARE
from epochbench.timing.record import Finding, Peaks, Record, checksum

HARD, SOFT = "hard", "soft"
# Others may take this much more of the time while the peak is measured than while the clock runs.
MAX_UNEVEN_SHARING = 2
MAX_SPREAD = 0.15
MAX_LOCK_WAIT_SECONDS = 600
# So much more of the cores' time than its threads have in its epochs shows further ones; it is counted a little longer
# than they last. Records of an H100's host and of two cores had 1.01 times as much at most.
MAX_CORE_SECONDS, CORE_SECONDS_ASIDE = 1.1, 0.5
# A stock CPU epoch of the published network faults in about 50 pages an image, a tuned one fewer than 1.
MAX_FAULTS_PER_IMAGE = 5
MAX_BASELINE_BEHIND = 1.25
MAX_SUBNORMAL_SHARE = 0.01


@dataclass(frozen=True)
class Gate:
    """One gate: its name, its severity, what it demands, and the function that judges."""

    name: str
    severity: str
    demand: str
    judge: Callable[[Record], Verdict]


def judged(record: Record) -> Record:
    """Return the record with every gate's finding."""
    return replace(record, gates=findings(record))


def findings(record: Record, peaks: Peaks | None = None) -> list[Finding]:
    """Judge a record by every gate; each finding says in a sentence why.

    `peaks` are the highest that the record's machine is known to reach; without them the record's own speak.
    """
    best = replace(record, peaks=peaks or record.peaks)
    return [
        Finding(gate.name, gate.severity, *gate.judge(best if gate.judge is possible else record)) for gate in GATES
    ]


def work_done(record: Record) -> Verdict:
    """Every step was taken, on every image, and moved every parameter."""
    evidence, epochs = record.evidence, len(record.timing.epoch_seconds)
    steps = math.ceil(record.dataset.train_images / record.cell.batch_size) * epochs
    images = record.dataset.train_images * epochs
    if (evidence.counted_steps, evidence.counted_images) != (steps, images):
        return False, (
            f"{evidence.counted_steps} steps on {evidence.counted_images} images were taken, {steps} on {images} asked."
        )
    until = record.until_accuracy
    asked = record.dataset.train_images * len(until.epoch_seconds) if until else 0
    if until and until.counted_images != asked:
        return False, f"Until the accuracy {until.counted_images} images were trained on, {asked} asked."
    if evidence.parameters_moved < 1:
        return False, f"Only {evidence.parameters_moved:.0%} of the parameters changed while the clock ran."
    return True, f"{steps} steps on {images} images, and every parameter moved{_but_unreached(record)}."


def _but_unreached(record: Record) -> str:
    """Name some of the parameters that no gradient reaches; nothing moves them, and nothing should."""
    names = [] if record.network is None else record.network.unreached
    shown = ", ".join(name[:60] for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f" but {shown}, which no gradient reaches" if names else ""


def possible(record: Record) -> Verdict:
    """No epoch is faster than its counted FLOP at the measured peak, unless others kept the peak down."""
    peaks, limit, precision = record.peaks, record.limit, record.cell.precision
    if peaks is None or limit is None or precision not in peaks.matrix_flop_per_second:
        return None, f"The machine's peak in {precision} was not measured."
    if limit.flop_per_epoch < 1:
        return None, "No FLOP were counted."
    floor, fastest = limit.arithmetic_seconds(peaks, precision), min(record.timing.epoch_seconds)
    said = (
        f"The fastest epoch, {fastest:.4g} s, is {fastest / floor:.1f} times the {floor:.3g} s that "
        f"{limit.flop_per_epoch / 1e9:.1f} GFLOP take at the measured peak."
    )
    if limit.is_possible(fastest, peaks, precision):
        return True, said
    others = _share_of_others(record)
    kept_down = MAX_UNEVEN_SHARING / max(1 - others, 1 / record.machine.cores_usable)
    if record.cell.device == "cpu" and others > MAX_OTHERS_SHARE and fastest * kept_down >= floor:
        return None, f"Others took {others:.1%} of the CPU, so that the measured peak is too low to judge by. {said}"
    return False, said


def subnormals(record: Record) -> Verdict:
    """Subnormal numbers, which slow a CPU down, are rare among weights and gradients."""
    share = record.evidence.subnormal_share
    return share <= MAX_SUBNORMAL_SHARE, f"{share:.1%} of weights and gradients are subnormal numbers."


def fair_cpu(record: Record) -> Verdict:
    """A cell that asks for all cores uses all that it may use, and computes in no more threads than it asks for."""
    if record.cell.device == "gpu":
        return None, "Not a CPU cell."
    threads, used = record.cell.threads, record.conditions.threads
    if isinstance(threads, str) and threads not in COLUMNS["threads"].allowed():
        return None, f"How many threads '{threads}' means is not known."
    asked = threads_of(threads, record.machine.cores_usable)
    taken, seconds = record.conditions.own_cpu_seconds, record.evidence.outer_seconds
    further = taken > asked * (MAX_CORE_SECONDS * seconds + CORE_SECONDS_ASIDE)
    return used == asked and not further, (
        f"{used} threads used, {asked} asked, {record.machine.cores_usable} cores usable"
        f"{f'; {taken:.3g} s of their time taken in {seconds:.3g} s' if further else ''}."
    )


def memory_kept(record: Record) -> Verdict:
    """A tuned allocator keeps its memory: hardly a page is faulted in while the clock runs."""
    if record.cell.allocator != "tuned":
        return None, "The allocator is as it comes."
    faults = record.conditions.minor_page_faults / max(1, record.evidence.counted_images)
    return faults <= MAX_FAULTS_PER_IMAGE, (
        f"{faults:.2f} page faults an image while the clock ran (at most {MAX_FAULTS_PER_IMAGE})."
    )


def short_wait(record: Record) -> Verdict:
    """The machine was free soon: a run that waits long for it meets another hour's temperature and neighbours."""
    waited = record.conditions.lock_wait_seconds
    return waited <= MAX_LOCK_WAIT_SECONDS, f"Waited {waited:.0f} s for the machine (at most {MAX_LOCK_WAIT_SECONDS})."


def quiet(record: Record) -> Verdict:
    """The machine did nothing else: little CPU time of others, little stolen, little spread among the epochs.

    Nor were the card's clocks held down, nor was it shared, nor did the run wait long for its turn.
    """
    verdicts = [_undisturbed(record), full_clock(record), short_wait(record)]
    sentences = [sentence for passed, sentence in verdicts if passed is not None or record.machine.gpu]
    return all(passed is not False for passed, _ in verdicts), " ".join(sentences)


def _undisturbed(record: Record) -> Verdict:
    available = record.evidence.outer_seconds * record.machine.cores_usable
    others = _share_of_others(record)
    steal = record.conditions.steal_seconds
    stolen = 0.0 if steal is None else steal / available
    of_hypervisor = "an unknown share" if steal is None else f"{stolen:.1%} (at most {MAX_STEAL_SHARE:.0%})"
    quarters = np.percentile(record.timing.epoch_seconds, [25, 50, 75])
    spread = float((quarters[2] - quarters[0]) / quarters[1])
    passed = others <= MAX_OTHERS_SHARE and stolen <= MAX_STEAL_SHARE and spread <= MAX_SPREAD
    return passed, (
        f"Others took {others:.1%} of the CPU (at most {MAX_OTHERS_SHARE:.0%}), the hypervisor {of_hypervisor}; the "
        f"middle half of the epochs spreads by {spread:.1%} (at most {MAX_SPREAD:.0%})."
    )


def _share_of_others(record: Record) -> float:
    """Return the share of the usable cores' time that other processes took while the clock ran."""
    available = record.evidence.outer_seconds * record.machine.cores_usable
    # Older records under a quota counted every core that they might have run on.
    return min(1.0, (record.conditions.other_cpu_seconds or 0.0) / available)


def untouched(record: Record) -> Verdict:
    """The record is as the run wrote it: a checksum shows corruption, and is no protection against tampering."""
    passed = checksum(record) == record.checksum
    if passed:
        return True, "Its checksum is right: it is not corrupted. Who edits a record on purpose can make a new one."
    return False, "Its checksum is wrong: it was changed after the run."


def same_data_same_code(records: list[Record], baseline: list[Record]) -> Finding:
    """All runs of a cell and of the baseline saw the same images and were measured by the same code.

    Runs of another machine's export (cell@node) may differ from ours, which is said, but not among themselves.
    """
    every, imported = [*records, *baseline], any(is_imported(run.cell.cell) for run in [*records, *baseline])
    data, code = _data_and_code(every)
    if (data, code) == (1, 1):
        of_all = "as the baseline" if baseline else "in all its runs; there is no baseline"
        return Finding("same data, same code", HARD, True, f"The same images and the same code {of_all}.")
    if imported and _data_and_code(records) == (1, 1):
        images, source = ("the same" if count == 1 else "other" for count in (data, code))
        said = f"Its own runs agree. The baseline, timed elsewhere, has {images} images and {source} code."
        return Finding("same data, same code", HARD, True, said)
    sentence = f"{data} different data fingerprints and {code} different code digests, the baseline's included."
    return Finding("same data, same code", HARD, False, sentence)


def _data_and_code(records: list[Record]) -> tuple[int, int]:
    """Count the different images and the different versions of the timing code."""
    return len({run.dataset.fingerprint for run in records}), len({run.code.digest for run in records})


def one_kind_of_machine(hardware: list[str]) -> Finding:
    """All runs of a cell were timed on the same kind of machine; results of different kinds never mix."""
    kinds = list(dict.fromkeys(hardware))
    sentence = f"All runs on {kinds[0]}."
    if len(kinds) > 1:
        sentence = f"Runs on {'; '.join(kinds)}: ask the cluster for one kind, by the cell's gpu_model or constraint."
    return Finding("one kind of machine", HARD, len(kinds) == 1, sentence)


def fair_baseline(baseline_seconds: float, best_cpu_seconds: float) -> Finding:
    """The baseline is not far behind the best CPU cell; where it is, both ratios are shown."""
    behind = baseline_seconds / best_cpu_seconds
    sentence = f"The baseline takes {behind:.2f} times the best CPU cell's epoch (at most {MAX_BASELINE_BEHIND})."
    return Finding("fair baseline", SOFT, behind <= MAX_BASELINE_BEHIND, sentence)


def worst(of_runs: list[list[Finding]]) -> list[Finding]:
    """Return one finding a gate over several runs: a failed one before one not judged before one that passed."""
    order = {False: 0, None: 1, True: 2}
    return [min(column, key=lambda finding: order[finding.passed]) for column in zip(*of_runs, strict=True)]


GATES = (
    Gate("work done", HARD, "every step on every image, every parameter moved", work_done),
    Gate("it learned", HARD, "no NaN, and images known better than by chance", it_learned),
    Gate("same arithmetic", HARD, "the first steps agree with float64 as far as rounding lets them", same_arithmetic),
    Gate("possible", HARD, "no faster than the counted FLOP at the measured peak", possible),
    Gate("synchronised", HARD, "events, wall clock and the sum of the epochs agree", synchronised),
    Gate("only training", HARD, "nothing but training steps inside the clock", only_training),
    Gate("untouched", HARD, "the record is not corrupted; a checksum does not stop tampering", untouched),
    Gate("precision used", SOFT, "the first update is rounded as the cell's precision rounds", precision_used),
    Gate("subnormals", SOFT, "subnormal numbers are rare", subnormals),
    Gate("memory kept", SOFT, "a tuned allocator faults in hardly a page", memory_kept),
    Gate("fair CPU", SOFT, "all cores used that were asked for", fair_cpu),
    Gate("quiet", SOFT, "the machine did nothing else meanwhile", quiet),
)
