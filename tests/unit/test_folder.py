"""A folder of class folders: read as it lies, or refused in one line that names the file."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from epochbench.acquire.acquire import Wanted, acquire
from epochbench.datasets import folder
from epochbench.errors import BenchmarkError
from epochbench.files import digest_of_folder
from epochbench.shard.write import shard_archive

SETTINGS = {"path": "", "size": "8x8", "colours": "auto", "test_share": 0.25}


def picture(seed, mode="RGB", size=(16, 16)):
    """An image of one colour with a darker middle."""
    value = 40 + 20 * seed
    image = Image.new("RGB", size, (value, 255 - value, 7 * seed))
    image.paste((0, 0, 0), (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    return image.convert(mode)


@pytest.fixture
def root(tmp_path):
    """Two classes of four images each."""
    for number, (name, suffix) in enumerate((name, suffix) for name in ("cat", "dog") for suffix in "abcd"):
        place = tmp_path / "pets" / name
        place.mkdir(parents=True, exist_ok=True)
        picture(number).save(place / f"{suffix}.png")
    return tmp_path / "pets"


def read(root, **settings):
    place = root.parent / "out"
    source = acquire(Wanted(source="folder", plan=SETTINGS | {"path": str(root)} | settings), place / "dataset.tar.gz")
    manifest = shard_archive(place / "dataset.tar.gz", source, place / "shard", 100)
    assert not list(place.glob(".*"))
    return manifest, folder.read_archive(place / "dataset.tar.gz")


def test_images_are_read_where_they_lie_and_some_of_each_class_held_out(root):
    (root / "cat" / ".hidden.gif").write_bytes(b"x")
    (root / "cat" / "notes.txt").write_text("x")
    manifest, splits = read(root)
    assert (manifest["source"]["name"], manifest["source"]["synthetic"]) == ("pets", False)
    assert (manifest["image_shape"], manifest["class_names"]) == ([3, 8, 8], ["cat", "dog"])
    assert [part["class_histogram"] for part in manifest["splits"].values()] == [[3, 3], [1, 1]]
    # Held out is the last of each class; the others are mixed.
    assert splits.train.labels.tolist() not in ([0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 0, 0])
    expected = np.asarray(picture(3).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    assert np.array_equal(splits.test.images[splits.test.labels == 0][0], expected)


def test_folders_train_and_val_are_the_splits_and_grey_images_have_one_channel(root):
    shutil.copytree(root, root.parent / "split" / "train")
    shutil.copytree(root, root.parent / "split" / "val")
    manifest, splits = read(root.parent / "split", colours="grey", size="4x6")
    assert manifest["image_shape"] == [1, 4, 6]
    assert (len(splits.train.labels), len(splits.test.labels)) == (8, 8)


def test_of_an_image_of_other_proportions_the_middle_is_taken(root):
    wide = Image.new("RGB", (48, 16), (255, 0, 0))
    wide.paste((0, 255, 0), (16, 0, 32, 16))
    for path in root.rglob("*.png"):
        wide.save(path.with_suffix(".jpg"), quality=95)
        path.unlink()
    _, splits = read(root)
    assert splits.train.images[:, 1].min() > 200
    assert splits.train.images[:, 0, :, 1:-1].max() < 60


def test_a_changed_image_is_noticed_without_reading_any(root):
    before = digest_of_folder(root)
    assert digest_of_folder(root) == before
    picture(9, size=(20, 20)).save(root / "dog" / "a.png")
    assert digest_of_folder(root) != before


def unreadable(root):
    (root / "dog" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")


def truncated(root):
    content = (root / "dog" / "b.png").read_bytes()
    (root / "dog" / "b.png").write_bytes(content[: len(content) * 2 // 3])


def animated(root):
    picture(1).save(root / "dog" / "b.png", save_all=True, append_images=[picture(5)])


def transparent_palette(root):
    picture(1).convert("P").save(root / "dog" / "b.png", transparency=0)


def sixteen_bits(root):
    Image.fromarray(np.full((16, 16), 40_000, np.uint16)).save(root / "dog" / "b.png")


def sixteen_bits_of_colour(root):
    """Pillow reads such files, but writes none: 2 x 1 pixels of three channels."""
    with (root / "dog" / "b.png").open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        PngImagePlugin.putchunk(file, b"IHDR", bytes([0, 0, 0, 2, 0, 0, 0, 1, 16, 2, 0, 0, 0]))
        PngImagePlugin.putchunk(file, b"IDAT", __import__("zlib").compress(bytes(13)))
        PngImagePlugin.putchunk(file, b"IEND", b"")


def linked_outside(root):
    shutil.move(root / "dog" / "b.png", root.parent / "elsewhere.png")
    (root / "dog" / "b.png").symlink_to(root.parent / "elsewhere.png")


def linked_class(root):
    shutil.move(root / "dog", root.parent / "dog")
    (root / "dog").symlink_to(root.parent / "dog")


def no_images(root):
    shutil.rmtree(root / "dog")
    (root / "dog").mkdir()


def save(mode, name="b.png"):
    return lambda root: picture(1, mode).save(root / "dog" / name)


@pytest.mark.fault("broken data sets", "refused")
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (unreadable, r"dog/b\.png: not readable"),
        (truncated, r"dog/b\.png: not readable"),
        (animated, r"dog/b\.png: is animated"),
        (transparent_palette, r"dog/b\.png: has transparency"),
        (save("RGBA"), r"dog/b\.png: has transparency"),
        (save("LA"), r"dog/b\.png: has transparency"),
        (sixteen_bits, r"dog/b\.png: has 16 bits a channel"),
        (sixteen_bits_of_colour, r"dog/b\.png: has 16 bits a channel"),
        (save("L"), r"dog/b\.png: grey, but the first image is not; say dataset\.folder\.colours"),
        (save("RGB", "e.gif"), r"dog/e\.gif: neither PNG nor JPEG"),
        (linked_outside, r"dog/b\.png: a link that leads out of .*pets, to .*elsewhere\.png"),
        (linked_class, r"pets/dog: a link that leads out of"),
        (no_images, r"pets/dog: holds no PNG or JPEG"),
        (lambda root: shutil.rmtree(root / "dog"), r"pets: must hold a folder for each .*; there is only 'cat'"),
        (lambda root: [shutil.rmtree(path) for path in root.iterdir()], r"pets: must hold .*; there is none"),
        (lambda root: shutil.copytree(root / "cat", root / "Cat"), r"the classes 'Cat' and 'cat' have one name"),
        (lambda root: [path.unlink() for path in list((root / "dog").iterdir())[1:]], r"pets/dog: holds one image"),
    ],
)
def test_a_bad_folder_is_refused_in_one_line_that_names_the_file(root, spoil, words):
    spoil(root)
    with pytest.raises(BenchmarkError, match=words) as refusal:
        read(root)
    assert "\n" not in str(refusal.value)
    assert not list(root.parent.joinpath("out").glob("**/*.safetensors"))
    assert not list(root.parent.joinpath("out").glob(".*"))


def test_mixed_images_are_converted_where_that_is_asked(root):
    picture(1, "L").save(root / "dog" / "b.png")
    picture(1, "P").save(root / "dog" / "c.png")
    assert read(root, colours="rgb")[0]["image_shape"] == [3, 8, 8]
    assert read(root, colours="grey")[0]["image_shape"] == [1, 8, 8]


def test_a_plan_without_its_folder_names_it(root):
    read(root)
    shutil.rmtree(root)
    with pytest.raises(BenchmarkError, match=r"pets/(cat|dog)/.\.png: not readable as PNG or JPEG"):
        folder.read_archive(Path(root.parent, "out", "dataset.tar.gz"))
