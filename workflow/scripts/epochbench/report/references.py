"""Published results, brought to the images of one epoch here."""

from dataclasses import dataclass

from epochbench.aggregate.summary import Summary

# Of the images that the published results were trained on.
PUBLISHED_SHAPE = [3, 32, 32]


@dataclass(frozen=True)
class Reference:
    """A published result: `seconds` as published, `scaled_seconds` for as many images as an epoch has here."""

    label: str
    hardware: str
    seconds: float
    statistic: str
    source: str
    scaled_seconds: float


def scaled_references(summary: Summary, published: list[dict]) -> list[Reference]:
    """Return the rows of published.tsv, slowest first; none where an image is no CIFAR-10 image."""
    if summary.dataset.image_shape != PUBLISHED_SHAPE:
        return []
    images, kept = summary.dataset.train_images, ("label", "hardware", "seconds", "statistic", "source")
    references = [
        Reference(**{key: row[key] for key in kept}, scaled_seconds=row["seconds"] * images / row["images"])
        for row in published
    ]
    return sorted(references, key=lambda reference: -reference.scaled_seconds)
