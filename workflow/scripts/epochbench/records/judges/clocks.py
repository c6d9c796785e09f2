"""Whether the clocks agree: wall, device and outer clock, and what stood between them."""

import statistics

from epochbench.records.judges import Verdict
from epochbench.timing.record import Record

MAX_CLOCK_DISAGREEMENT = 0.05
# A timer and a synchronisation cost microseconds; over epochs shorter than this they are no longer 5 percent.
CLOCK_RESOLUTION_SECONDS = 2e-4
# Asking a device for results that are there already takes as long; epochs not much longer cannot be judged by it.
LATE_RESOLUTION_SECONDS = 1e-3
# Starting a clock and reading the last loss, between two epochs: 20 to 90 microseconds on an H100.
BETWEEN_EPOCHS_SECONDS = 1e-4
# Before version 3 the time between epochs was not measured, and was guessed to be this.
GUESSED_BETWEEN_SECONDS = 2e-4
# The host may be taken away between the device's end and the reading of its own clock; that only lengthens the wall's
# time, and in few epochs, or the clock itself is wrong.
MAX_SHARE_OF_LATE_READINGS = 0.25
# The device itself took no less for such an epoch than for the others. Its events stand around the whole epoch, also
# where it waits for the host between two launches, so that this holds for small batches too. Of 26 runs on an H100 the
# fastest epoch took 0.9 of the second fastest at least.
MIN_SHARE_OF_FASTEST_EPOCH = 0.8
# What a loop, a progress bar and a fair share of bad luck cost between the steps of an epoch.
MAX_BETWEEN_STEPS = 0.1


def synchronised(record: Record) -> Verdict:
    """The epochs add up to the time they took, results are there when they end, and the device's own events agree."""
    walls, outer = record.timing.epoch_seconds, record.evidence.outer_seconds
    between = record.evidence.between_seconds
    # The host's own time between epochs is known by itself; what waits there for the device is not part of it.
    each = GUESSED_BETWEEN_SECONDS if between is None else BETWEEN_EPOCHS_SECONDS
    took = outer - (between or 0.0)
    late = record.evidence.late_seconds
    if late is not None and late > MAX_CLOCK_DISAGREEMENT * statistics.median(walls) + LATE_RESOLUTION_SECONDS:
        return False, f"The results of an epoch came {late:.2g} s after its clock had stopped: it was not waited for."
    if not _agree(sum(walls), took, CLOCK_RESOLUTION_SECONDS + each * len(walls), of=outer):
        return False, f"The epochs add up to {sum(walls):.4g} s, but took {took:.4g} s."
    if record.timing.event_seconds is None:
        said = f"The epochs add up to the {took:.4g} s they took"
        if late is not None and statistics.median(walls) < 2 * LATE_RESOLUTION_SECONDS:
            return None, f"{said}; whether results were there then cannot be judged of epochs as short as these."
        if record.machine.gpu is None or late is not None:
            return True, f"{said}."
        return None, f"{said}; the device's own clock cannot be judged, since it has no events."
    return _events(walls, record.timing.event_seconds)


def _events(walls: list[float], events: list[float]) -> Verdict:
    """Judge the device's events against the wall clock, epoch by epoch, and those that agree in sum too."""
    pairs = list(zip(walls, events, strict=True))
    agreed, late, wrong = [], [], []
    for wall, event in pairs:
        agree = event > 0 and _agree(event, wall, CLOCK_RESOLUTION_SECONDS)
        (agreed if agree else late if 0 < event <= wall else wrong).append((wall, event))
    fastest = min((event for _, event in agreed), default=0.0)
    least = MIN_SHARE_OF_FASTEST_EPOCH * fastest - CLOCK_RESOLUTION_SECONDS
    wrong += [(wall, event) for wall, event in late if event < least]
    if wrong or len(late) > MAX_SHARE_OF_LATE_READINGS * len(pairs):
        wall, event = (wrong or late)[0]
        return False, f"The device's events say {event:.4g} s where the wall clock says {wall:.4g} s."
    summed_walls, summed_events = (sum(times) for times in zip(*agreed, strict=True))
    if not _agree(summed_events, summed_walls, BETWEEN_EPOCHS_SECONDS * len(agreed)):
        return False, f"The device's events add up to {summed_events:.4g} s, the epochs to {summed_walls:.4g} s."
    return True, "The device's events, the wall clock and the sum of the epochs agree within 5 %."


def _agree(first: float, second: float, slack: float, of: float | None = None) -> bool:
    """Tell whether two times agree, but for a share of the longer one, or of `of`, and a slack in seconds."""
    return abs(first - second) <= MAX_CLOCK_DISAGREEMENT * (of or max(abs(first), abs(second))) + slack


def only_training(record: Record) -> Verdict:
    """Nothing but training steps stood inside the clock."""
    total = sum(record.timing.epoch_seconds)
    between = total - record.evidence.step_seconds
    slack = CLOCK_RESOLUTION_SECONDS * len(record.timing.epoch_seconds)
    return between <= MAX_BETWEEN_STEPS * total + slack, (
        f"{max(0.0, between / total):.1%} of the timed seconds were spent outside training steps "
        f"(at most {MAX_BETWEEN_STEPS:.0%})."
    )
