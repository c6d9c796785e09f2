"""Whether the network learned: from its training images by the labels in the shards, and from the test images."""

import math

from epochbench.foreign import is_foreign
from epochbench.records.judges import Verdict
from epochbench.timing.protocol import PUBLISHED_BATCH, PUBLISHED_RATE, Protocol
from epochbench.timing.record import Record

# Steps at the published rate after which the published network's loss is below chance, on real images and on the
# stand-in alike. A smaller rate takes as many more, and a larger one is no reason to expect it sooner.
MIN_STEPS_TO_LEARN = 100
# A rate that is further above linear scaling can lead anywhere: at batch 10 the published rate, a hundred times what
# the rule gives, ends in a network that says the same of every image, on a CPU and on an H100 alike.
MAX_RATE_ABOVE_LINEAR = 10
# At the rate that is usual for Adam, its updates take a network of this kind about as far.
ADAM_RATE = 0.001
# Standard deviations of a guess over so many images; chance reaches it once in 30,000.
DEVIATIONS_ABOVE_CHANCE = 4


def it_learned(record: Record) -> Verdict:
    """The network learned: no NaN, and once it had the steps to get there, it knows its images better than chance."""
    evidence, training = record.evidence, record.training
    losses = [*training.warmup_losses, *training.epoch_losses, evidence.test_loss]
    evaluated = evidence.train_images_evaluated is not None
    if None in losses or (evaluated and evidence.train_loss is None):
        return False, "A loss is not a number."
    knows, beside = _knows_its_images(record)
    said = f"{_told(record)}; chance is {_chance_loss(record):.3f}"
    cannot = None if knows and evaluated else _reason_not_to_judge(record)
    if cannot:
        return None, f"{cannot}: {said}."
    return knows, f"{said[0].upper()}{said[1:]}.{beside}{_by_running_statistics(record)}"


def _by_running_statistics(record: Record) -> str:
    moved = 0 if record.network is None else record.network.state
    return f" Both by the running statistics that training left, {moved} of them." if moved else ""


def _knows_its_images(record: Record) -> tuple[bool | None, str]:
    """Return whether the network knows its images, None where an older record does not tell; and what to add."""
    evidence, training = record.evidence, record.training
    knows_test = _knows(record, evidence.test_loss, training.test_accuracy, record.dataset.test_images)
    if evidence.train_images_evaluated is None:
        fell = bool(training.epoch_losses) and training.epoch_losses[-1] < _chance_loss(record)
        if fell and not knows_test:
            return None, " The training loss fell: it may be overfitted, which this older record does not tell."
        return knows_test, ""
    count = evidence.train_images_evaluated
    knows_train = _knows(record, evidence.train_loss, evidence.train_accuracy, count, both=True)
    alone = knows_train and not knows_test
    return knows_train, " It knows its training images alone: it is overfitted." if alone else ""


def _reason_not_to_judge(record: Record) -> str | None:
    """Return why learning cannot be asked of this protocol, None where it can."""
    steps = record.protocol.warmup_steps + record.evidence.counted_steps
    if is_foreign(record.cell.model):
        return f"Nobody knows how many steps {record.cell.model} needs to learn"
    rate = record.training.learning_rate or record.protocol.learning_rate
    usual = _usual_rate(record.protocol)
    above = rate / (usual * record.cell.batch_size / PUBLISHED_BATCH)
    # Rates are products of floating-point numbers.
    if above > MAX_RATE_ABOVE_LINEAR * (1 + 1e-9):
        return (
            f"A learning rate of {rate:g} at batch {record.cell.batch_size} is {above:.0f} times what linear scaling "
            "gives, and may lead anywhere"
        )
    if round(steps * min(1.0, rate / usual), 6) < MIN_STEPS_TO_LEARN:
        return f"Too few steps at a learning rate of {rate:g} to judge"
    return None


def _usual_rate(protocol: Protocol) -> float:
    return PUBLISHED_RATE if protocol.optimizer == "sgd" else ADAM_RATE


def _knows(record: Record, loss: float, accuracy: float, images: int, both: bool = False) -> bool:
    """Tell whether images are known better than by chance: by their loss, their accuracy, or by both."""
    chance = 1 / record.dataset.classes
    above = chance + DEVIATIONS_ABOVE_CHANCE * math.sqrt(chance * (1 - chance) / max(1, images))
    if record.network is not None and record.network.own_loss:
        return accuracy > above  # what it minimises need not lower the cross-entropy
    signs = loss < _chance_loss(record), accuracy > above
    return all(signs) if both else any(signs)


def _chance_loss(record: Record) -> float:
    return math.log(record.dataset.classes)


def _told(record: Record) -> str:
    evidence, training = record.evidence, record.training
    steps = record.protocol.warmup_steps + evidence.counted_steps
    told = f"test loss {evidence.test_loss:.3f}, accuracy {training.test_accuracy:.1%}"
    if evidence.train_images_evaluated is not None:
        told = f"training loss {evidence.train_loss:.3f}, accuracy {evidence.train_accuracy:.1%}; {told}"
    return f"{told} after {steps} steps"
