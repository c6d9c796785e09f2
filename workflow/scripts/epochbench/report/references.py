"""Published results, brought to the images of one epoch here."""

from dataclasses import dataclass

from epochbench.aggregate.summary import Summary
from epochbench.timing.cell import DEFAULTS

# Of the images and the network that the published results were trained on.
PUBLISHED_SHAPE, PUBLISHED_MODEL = [3, 32, 32], DEFAULTS["model"]


@dataclass(frozen=True)
class Reference:
    """A published result: `seconds` as published, `scaled_seconds` for as many images as an epoch has here."""

    label: str
    hardware: str
    seconds: float
    statistic: str
    source: str
    scaled_seconds: float


def has_the_published_work(summary: Summary) -> bool:
    """Tell whether a cell trains the published network on images of CIFAR-10's size."""
    is_published = any(row.settings.model == PUBLISHED_MODEL for row in summary.cells)
    return is_published and summary.dataset.image_shape == PUBLISHED_SHAPE


def scaled_references(summary: Summary, published: list[dict]) -> list[Reference]:
    """Return the rows of published.tsv, slowest first; none where nothing here does the published work."""
    if not has_the_published_work(summary):
        return []
    images, kept = summary.dataset.train_images, ("label", "hardware", "seconds", "statistic", "source")
    references = [
        Reference(**{key: row[key] for key in kept}, scaled_seconds=row["seconds"] * images / row["images"])
        for row in published
    ]
    return sorted(references, key=lambda reference: -reference.scaled_seconds)
