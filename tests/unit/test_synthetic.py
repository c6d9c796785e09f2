import hashlib

import numpy as np

from epochbench.acquire.synthetic import Synthetic, write_archive
from epochbench.datasets.cifar10 import CLASS_NAMES, read_archive


def test_is_read_like_the_official_archive(archive):
    dataset = read_archive(archive)
    assert dataset.train.images.shape == (500, 3, 32, 32)
    assert dataset.test.images.shape == (100, 3, 32, 32)
    assert dataset.class_names == list(CLASS_NAMES)
    assert set(dataset.train.labels.tolist()) == set(range(10))


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_archive(tmp_path / name, Synthetic(20, seed))
        digests.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert digests[0] == digests[1] != digests[2]


def test_the_images_of_a_seed_never_change(tmp_path):
    """Fingerprints of published results rest on these bytes."""
    write_archive(tmp_path / "a", Synthetic(20, 2021))
    dataset = read_archive(tmp_path / "a")
    digest = hashlib.sha256(dataset.train.images.tobytes() + dataset.train.labels.tobytes()).hexdigest()
    assert digest == "a5eb7f8c4cf1c530991ffabbdf5a80cfdfa0cd080dfbd5a2c0bffbee1378b98a"


def test_every_class_has_structure_that_a_nearest_mean_finds(archive):
    dataset = read_archive(archive)
    pixels = dataset.train.images.reshape(500, -1).astype(float)
    means = np.stack([pixels[dataset.train.labels == label].mean(axis=0) for label in range(10)])
    distances = ((dataset.test.images.reshape(100, 1, -1) - means) ** 2).sum(axis=2)
    assert (distances.argmin(axis=1) == dataset.test.labels).mean() > 0.5
