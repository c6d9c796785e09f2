"""Whether the first steps computed what they should, and in the precision that the cell says.

What a cell deviates from float64 is held against what rounding alone does to the same steps on the CPU. That is
measured for each network, batch size and precision (timing/reference.py), so that no tolerance here belongs to one.
"""

import math
from dataclasses import dataclass

from epochbench.records.judges import Verdict
from epochbench.timing.record import ROUNDING_FACTOR, FirstEpoch, FirstStep, Record

# Over a whole epoch luck evens out: updates of 50 steps by JAX and Keras were off by 0.5 to 3 times what is expected in
# each precision, on a CPU and a GPU.
EPOCH_FACTOR = 5
# That one of the last steps of an epoch was not taken is a small part of its update, but has a direction of its own.
LATE_STEP = 0.5
# A maximum or ReLU that rounding decides the other way changes a part of one image's gradient. In 150 batches it did so
# four times: an update was off by 0.18 over the batch size at most, but for one by 0.47 a step later.
FLIP_SHARE_OF_AN_IMAGE = 0.5
FLIP_IN_LOSS = 0.005
# The last digits of a mean in float32.
LOSS_RESOLUTION = 1e-6
# An update as long as the right one that points 40 degrees away from it is off by this, and no update at all by 1.
MAX_UPDATE_DEVIATION = 0.7
# A precision is told from fp32 where its rounding moves the update this many times as far.
MIN_DISTANCE_FROM_FP32 = 10
HALF_PRECISIONS = ("tf32", "bf16", "fp16")
# Records before version 4 do not say what was to be expected. These held for the published network.
FORMER_MODEL = "lenet"
FORMER_TOLERANCES = {"fp32": (1e-5, 2e-3), "tf32": (2e-3, 5e-2), "fp16": (2e-3, 5e-2), "bf16": (2e-2, 2e-1)}


@dataclass(frozen=True)
class _Tolerance:
    """How far a step's loss and update may be from float64; None where rounding alone leaves nothing to compare."""

    loss: float | None
    update: float | None


def same_arithmetic(record: Record) -> Verdict:
    """The first steps agree with a float64 reference on the CPU, and TF32 is on just where the cell says so."""
    evidence, precision = record.evidence, record.cell.precision
    if evidence.tf32_allowed is not None and evidence.tf32_allowed != (precision == "tf32"):
        return False, f"TF32 is {'on' if evidence.tf32_allowed else 'off'} in a cell of precision {precision}."
    if record.network is not None and record.network.unchecked:
        return None, f"Not compared with float64: {record.network.unchecked}."[:500]
    if evidence.loss_deviation is None or evidence.update_deviation is None:
        return False, "The first steps gave no numbers to compare."
    if not evidence.first_steps:
        return _by_former_constants(record)
    passed, said = _by_rounding(record)
    whole = _whole_epoch(record) if evidence.first_epoch else None
    return (passed, said) if whole is None or passed is False else (whole[0], f"{said} {whole[1]}")


def _whole_epoch(record: Record) -> Verdict | None:
    """Judge an epoch by the function that is timed; None where rounding alone leaves nothing to compare."""
    epoch = record.evidence.first_epoch
    expected = epoch.expected_loss_deviation, epoch.expected_update_deviation
    tolerance = _bounds(*expected, record.cell.batch_size, EPOCH_FACTOR)
    if tolerance == _Tolerance(None, None):
        return None
    passed = _agrees((epoch.loss_deviation, epoch.update_deviation), tolerance)
    took_all, late = _late_steps(epoch)
    return passed and took_all, (
        f"A whole epoch of {epoch.steps} steps as it is timed: {_losses(epoch, tolerance.loss)}, its update within "
        f"{_told(epoch.update_deviation)} (at most {_told(tolerance.update)}){late}."
    )


def _losses(epoch: FirstEpoch, most: float | None) -> str:
    if not epoch.compared_losses:
        return "no losses told from rounding"
    first = "" if epoch.compared_losses >= epoch.steps else f" of the first {epoch.compared_losses}"
    return f"losses{first} within {_told(epoch.loss_deviation)} (at most {_told(most)})"


def _late_steps(epoch: FirstEpoch) -> tuple[bool, str]:
    """Judge whether an epoch took its last steps, as far as they can be told from rounding."""
    pairs = zip(epoch.late_shares, epoch.expected_late_deviations, strict=True)
    told = [share for share, off in pairs if off is not None and ROUNDING_FACTOR * off <= LATE_STEP]
    if not told:
        return True, ", its last steps not told from rounding" if epoch.late_shares else ""
    if None in told:
        return False, ", its last steps no numbers"
    shares = f", of each of its last steps that are told from rounding, {len(told)}, {min(told):.0%} to {max(told):.0%}"
    return all(abs(share - 1) <= LATE_STEP for share in told), shares


def _by_rounding(record: Record) -> Verdict:
    """Judge each step by what rounding does to it, the first one most sharply, and all of them together."""
    evidence = record.evidence
    tolerances = [_tolerance(step, record.cell.batch_size) for step in evidence.first_steps]
    found = [(step.loss_deviation, step.update_deviation) for step in evidence.first_steps]
    found.append((evidence.loss_deviation, evidence.update_deviation))
    losses = [each.loss for each in tolerances]
    together = _Tolerance(None if None in losses else max(losses), tolerances[-1].update)
    checks = list(zip(found, [*tolerances, together], strict=True))
    if all(tolerance == _Tolerance(None, None) for tolerance in tolerances):
        return None, "Rounding alone leads the first steps astray, so that nothing can be compared."
    wrong = next((check for check in checks if not _agrees(*check)), None)
    (loss, update), tolerance = wrong or checks[0]
    number = checks.index(wrong or checks[0]) + 1
    named = f"step {number}" if number <= len(tolerances) else f"{len(tolerances)} steps together"
    return wrong is None, (
        f"Against float64, {named}: the loss deviates by {_told(loss)} (at most {_told(tolerance.loss)}), the weights' "
        f"update by {_told(update)} (at most {_told(tolerance.update)}), as far as rounding to {record.cell.precision} "
        f"explains.{_held_still(record)}"
    )


def _held_still(record: Record) -> str:
    switched_off = record.network is not None and record.network.randomness == "switched off"
    return " Dropout and its like were off in the steps compared." if switched_off else ""


def _tolerance(step: FirstStep, batch_size: int) -> _Tolerance:
    return _bounds(step.expected_loss_deviation, step.expected_update_deviation, batch_size)


def _bounds(
    loss: float | None, update: float | None, batch_size: int, update_factor: float = ROUNDING_FACTOR
) -> _Tolerance:
    bound = None if loss is None else ROUNDING_FACTOR * loss + FLIP_IN_LOSS / batch_size + LOSS_RESOLUTION
    if update is None or 2 * update > MAX_UPDATE_DEVIATION:
        return _Tolerance(bound, None)
    return _Tolerance(bound, min(MAX_UPDATE_DEVIATION, update_factor * update + FLIP_SHARE_OF_AN_IMAGE / batch_size))


def _agrees(found: tuple[float | None, float | None], tolerance: _Tolerance) -> bool:
    pairs = zip(found, (tolerance.loss, tolerance.update), strict=True)
    return all(most is None or (value is not None and value <= most) for value, most in pairs)


def _told(value: float | None) -> str:
    return "what cannot be told" if value is None else f"{value:.1e}"


def _by_former_constants(record: Record) -> Verdict:
    evidence, cell = record.evidence, record.cell
    if cell.precision not in FORMER_TOLERANCES:
        return None, f"No tolerance is known for precision {cell.precision}."
    if cell.model != FORMER_MODEL:
        return None, f"This older record does not say how far rounding leads {cell.model} in {cell.precision}."
    loss, update = FORMER_TOLERANCES[cell.precision]
    passed = evidence.loss_deviation <= loss and evidence.update_deviation <= update
    return passed, (
        f"Against float64, the first {evidence.checked_steps} losses deviate by {evidence.loss_deviation:.1e} "
        f"(at most {loss:.0e}) and the weights' updates by {evidence.update_deviation:.1e} (at most {update:.0e})."
    )


def precision_used(record: Record) -> Verdict:
    """A cell of lower precision really computed in it: its first update is not as near to float64 as fp32 comes.

    Between what fp32 deviates and what the precision does, the geometric mean decides.
    """
    precision = record.cell.precision
    if precision not in HALF_PRECISIONS:
        return None, f"{precision} is the precision that others are told from."
    if not record.evidence.first_steps:
        return None, "This older record does not say how far rounding leads."
    step = record.evidence.first_steps[0]
    found, lower, plain = step.update_deviation, step.expected_update_deviation, step.plain_update_deviation
    if None in (found, lower, plain) or plain == 0 or lower < MIN_DISTANCE_FROM_FP32 * plain:
        return None, f"The first update in {precision} cannot be told from one in fp32."
    least = math.sqrt(lower * plain)
    return found >= least, (
        f"The first update deviates from float64 by {found:.1e}; in {precision} about {lower:.1e} is expected, in fp32 "
        f"{plain:.1e}. Below {least:.1e} it was not computed in {precision}."
    )
