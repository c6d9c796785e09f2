"""Gates: what must be true for a number to count. Each is a pure function of a record that gives its reason in words.

A hard gate that fails means that the number is wrong; a soft one, that it is less certain. A gate that cannot be judged
on a record (too few steps to learn, no events on a CPU) says so and neither passes nor fails.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from epochbench.timing.cell import COLUMNS, is_imported, threads_of
from epochbench.timing.record import Finding, Record, checksum

# Whether a gate passed, None where it cannot be judged; and a sentence that says why.
Verdict = tuple[bool | None, str]
HARD, SOFT = "hard", "soft"
# Steps after which the published network's loss is below chance on real images and on the stand-in alike.
MIN_STEPS_TO_LEARN = 100
MAX_CLOCK_DISAGREEMENT = 0.05
# A timer and a synchronisation cost microseconds; over epochs shorter than this they are no longer 5 percent.
CLOCK_RESOLUTION_SECONDS = 2e-4
# What a loop, a progress bar and a fair share of bad luck cost between the steps of an epoch.
MAX_BETWEEN_STEPS = 0.1
MAX_OTHERS_SHARE = 0.05
MAX_STEAL_SHARE = 0.02
MAX_SPREAD = 0.15
MAX_LOCK_WAIT_SECONDS = 600
# A stock CPU epoch of the published network faults in about 50 pages an image, a tuned one fewer than 1.
MAX_FAULTS_PER_IMAGE = 5
MAX_BASELINE_BEHIND = 1.25
MAX_SUBNORMAL_SHARE = 0.01
# Relative deviation from float64 of the first losses, and of the weights' first updates. Unit round-off is 6e-8 for
# fp32, 5e-4 for tf32 and fp16, 4e-3 for bf16; sums over a batch and ties in max-pooling add to it.
TOLERANCES = {"fp32": (1e-5, 2e-3), "tf32": (2e-3, 5e-2), "fp16": (2e-3, 5e-2), "bf16": (2e-2, 2e-1)}
# Eighteen layers with batch normalisation enlarge every rounding: on an H200 in TF32 the published network's updates
# were off by 1.3e-3, ResNet-18's by 1.6e-1.
TOLERANCE_FACTORS = {"lenet": 1, "resnet18": 5}


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


def findings(record: Record) -> list[Finding]:
    """Judge a record by every gate; each finding says in a sentence why."""
    return [Finding(gate.name, gate.severity, *gate.judge(record)) for gate in GATES]


def work_done(record: Record) -> Verdict:
    """Every step was taken, on every image, and moved every parameter."""
    evidence, epochs = record.evidence, len(record.timing.epoch_seconds)
    steps = math.ceil(record.dataset.train_images / record.cell.batch_size) * epochs
    images = record.dataset.train_images * epochs
    if (evidence.counted_steps, evidence.counted_images) != (steps, images):
        return False, (
            f"{evidence.counted_steps} steps on {evidence.counted_images} images were taken, {steps} on {images} asked."
        )
    if evidence.parameters_moved < 1:
        return False, f"Only {evidence.parameters_moved:.0%} of the parameters changed while the clock ran."
    return True, f"{steps} steps on {images} images, and every parameter moved."


def it_learned(record: Record) -> Verdict:
    """The network learned: no NaN, and a test loss below chance once it had the steps to get there."""
    losses = [*record.training.warmup_losses, *record.training.epoch_losses]
    if None in losses or record.evidence.test_loss is None:
        return False, "A loss is not a number."
    steps = record.protocol.warmup_steps + record.evidence.counted_steps
    said = (
        f"test loss {record.evidence.test_loss:.3f}, accuracy {record.training.test_accuracy:.1%} after {steps} steps"
    )
    if steps < MIN_STEPS_TO_LEARN:
        return None, f"Too few steps to judge: {said}."
    chance_loss = math.log(record.dataset.classes)
    return record.evidence.test_loss < chance_loss, f"{said[0].upper()}{said[1:]}; chance is {chance_loss:.3f}."


def same_arithmetic(record: Record) -> Verdict:
    """The first steps agree with a float64 reference on the CPU, and TF32 is on just where the cell says so."""
    evidence, model, precision = record.evidence, record.cell.model, record.cell.precision
    if precision not in TOLERANCES:
        return None, f"No tolerance is known for precision {precision}."
    if evidence.tf32_allowed is not None and evidence.tf32_allowed != (precision == "tf32"):
        return False, f"TF32 is {'on' if evidence.tf32_allowed else 'off'} in a cell of precision {precision}."
    if evidence.loss_deviation is None or evidence.update_deviation is None:
        return False, "The first steps gave no numbers to compare."
    if model not in TOLERANCE_FACTORS:
        return None, f"No tolerance is known for model {model}."
    factor = TOLERANCE_FACTORS[model]
    loss_tolerance, update_tolerance = (factor * tolerance for tolerance in TOLERANCES[precision])
    passed = evidence.loss_deviation <= loss_tolerance and evidence.update_deviation <= update_tolerance
    return passed, (
        f"Against float64, the first {evidence.checked_steps} losses deviate by {evidence.loss_deviation:.1e} (at most "
        f"{loss_tolerance:.0e}) and the weights' updates by {evidence.update_deviation:.1e} "
        f"(at most {update_tolerance:.0e})."
    )


def possible(record: Record) -> Verdict:
    """No epoch is faster than its counted FLOP at the measured peak."""
    peaks, limit, precision = record.peaks, record.limit, record.cell.precision
    if peaks is None or limit is None or precision not in peaks.matrix_flop_per_second:
        return None, f"The machine's peak in {precision} was not measured."
    if limit.flop_per_epoch < 1:
        return None, "No FLOP were counted."
    floor, fastest = limit.arithmetic_seconds(peaks, precision), min(record.timing.epoch_seconds)
    return limit.is_possible(fastest, peaks, precision), (
        f"The fastest epoch, {fastest:.4g} s, is {fastest / floor:.1f} times the {floor:.3g} s that "
        f"{record.limit.flop_per_epoch / 1e9:.1f} GFLOP take at the measured peak."
    )


def synchronised(record: Record) -> Verdict:
    """The epochs add up to the time they took, and the device's own events agree with the wall clock."""
    walls, outer = record.timing.epoch_seconds, record.evidence.outer_seconds
    # The host's own time between epochs is known by itself; what waits there for the device is not part of it.
    between = record.evidence.between_seconds or 0.0
    slack = CLOCK_RESOLUTION_SECONDS * len(walls)
    if not _agree(sum(walls) + between, outer, slack):
        return False, f"The epochs add up to {sum(walls):.4g} s, but took {outer - between:.4g} s."
    if record.timing.event_seconds is None:
        return True, f"The epochs add up to the {outer - between:.4g} s they took."
    wrong = [(w, e) for w, e in zip(walls, record.timing.event_seconds, strict=True) if not _agree(e, w, slack)]
    if wrong:
        return False, f"The device's events say {wrong[0][1]:.4g} s where the wall clock says {wrong[0][0]:.4g} s."
    return True, "The device's events, the wall clock and the sum of the epochs agree within 5 %."


def _agree(first: float, second: float, slack: float) -> bool:
    return abs(first - second) <= MAX_CLOCK_DISAGREEMENT * max(abs(first), abs(second)) + slack


def only_training(record: Record) -> Verdict:
    """Nothing but training steps stood inside the clock."""
    total = sum(record.timing.epoch_seconds)
    between = total - record.evidence.step_seconds
    slack = CLOCK_RESOLUTION_SECONDS * len(record.timing.epoch_seconds)
    return between <= MAX_BETWEEN_STEPS * total + slack, (
        f"{max(0.0, between / total):.1%} of the timed seconds were spent outside training steps "
        f"(at most {MAX_BETWEEN_STEPS:.0%})."
    )


def subnormals(record: Record) -> Verdict:
    """Subnormal numbers, which slow a CPU down, are rare among weights and gradients."""
    share = record.evidence.subnormal_share
    return share <= MAX_SUBNORMAL_SHARE, f"{share:.1%} of weights and gradients are subnormal numbers."


def fair_cpu(record: Record) -> Verdict:
    """A cell that asks for all cores uses all that it may use."""
    if record.cell.device == "gpu":
        return None, "Not a CPU cell."
    threads, used = record.cell.threads, record.conditions.threads
    if isinstance(threads, str) and threads not in COLUMNS["threads"].allowed():
        return None, f"How many threads '{threads}' means is not known."
    asked = threads_of(threads, record.machine.cores_usable)
    return used == asked, f"{used} threads used, {asked} asked, {record.machine.cores_usable} cores usable."


def memory_kept(record: Record) -> Verdict:
    """A tuned allocator keeps its memory: hardly a page is faulted in while the clock runs."""
    if record.cell.allocator != "tuned":
        return None, "The allocator is as it comes."
    faults = record.conditions.minor_page_faults / max(1, record.evidence.counted_images)
    return faults <= MAX_FAULTS_PER_IMAGE, (
        f"{faults:.2f} page faults an image while the clock ran (at most {MAX_FAULTS_PER_IMAGE})."
    )


def full_clock(record: Record) -> Verdict:
    """Nothing held the accelerator's clocks down, before the timed epochs or just after."""
    states = [state for state in (record.conditions.gpu_before, record.conditions.gpu_after) if state]
    reasons = [reason for state in states for reason in state.throttle_reasons or []]
    if not states or all(state.throttle_reasons is None for state in states):
        return None, "No accelerator tells why its clocks are held down."
    return not reasons, f"Clocks held down by: {', '.join(dict.fromkeys(reasons)) or 'nothing'}."


def short_wait(record: Record) -> Verdict:
    """The machine was free soon: a run that waits long for it meets another hour's temperature and neighbours."""
    waited = record.conditions.lock_wait_seconds
    return waited <= MAX_LOCK_WAIT_SECONDS, f"Waited {waited:.0f} s for the machine (at most {MAX_LOCK_WAIT_SECONDS})."


def quiet(record: Record) -> Verdict:
    """The machine did nothing else: little CPU time of others, little stolen, little spread among the epochs.

    Nor were the clocks held down, nor did the run wait long for its turn.
    """
    verdicts = [_undisturbed(record), full_clock(record), short_wait(record)]
    sentences = [sentence for passed, sentence in verdicts if passed is not None]
    return all(passed is not False for passed, _ in verdicts), " ".join(sentences)


def _undisturbed(record: Record) -> Verdict:
    available = record.evidence.outer_seconds * record.machine.cores_usable
    others = (record.conditions.other_cpu_seconds or 0.0) / available
    stolen = (record.conditions.steal_seconds or 0.0) / available
    quarters = np.percentile(record.timing.epoch_seconds, [25, 50, 75])
    spread = float((quarters[2] - quarters[0]) / quarters[1])
    passed = others <= MAX_OTHERS_SHARE and stolen <= MAX_STEAL_SHARE and spread <= MAX_SPREAD
    return passed, (
        f"Others took {others:.1%} of the CPU (at most {MAX_OTHERS_SHARE:.0%}), the hypervisor {stolen:.1%} (at most "
        f"{MAX_STEAL_SHARE:.0%}); the middle half of the epochs spreads by {spread:.1%} (at most {MAX_SPREAD:.0%})."
    )


def untouched(record: Record) -> Verdict:
    """The record is as the run wrote it."""
    passed = checksum(record) == record.checksum
    return passed, "Its checksum is right." if passed else "Its checksum is wrong: it was changed after the run."


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
    Gate("it learned", HARD, "no NaN, and a test loss below chance", it_learned),
    Gate("same arithmetic", HARD, "the first steps agree with float64", same_arithmetic),
    Gate("possible", HARD, "no faster than the counted FLOP at the measured peak", possible),
    Gate("synchronised", HARD, "events, wall clock and the sum of the epochs agree", synchronised),
    Gate("only training", HARD, "nothing but training steps inside the clock", only_training),
    Gate("untouched", HARD, "the record is as the run wrote it", untouched),
    Gate("subnormals", SOFT, "subnormal numbers are rare", subnormals),
    Gate("memory kept", SOFT, "a tuned allocator faults in hardly a page", memory_kept),
    Gate("fair CPU", SOFT, "all cores used that were asked for", fair_cpu),
    Gate("quiet", SOFT, "the machine did nothing else meanwhile", quiet),
)
