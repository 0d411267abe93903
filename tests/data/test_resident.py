"""Tables of what devices show of images that they hold: the bytes, labels and numbers of what workers make."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, jpeg, picture, write_folder

from netspec.check.augmentations import placed
from netspec.data.dataset import open_dataset
from netspec.data.pipeline import Pipeline
from netspec.data.resident import ResidentPipeline, ResizedError, hold
from netspec.data.settings import DataSpec, More
from netspec.data.shuffle import random_words, words_of_many
from netspec.errors import NetspecError

SHAPE = (8, 8, 3)
EVERY = {"translate": {"pixels": 3, "fill": "edge"}, "colour": {"sigma": 0.5, "magnitude": "deviation"}}


def data_of(folder: Path, **settings) -> DataSpec:
    return DataSpec({"type": "folder", "path": str(folder)}, **{"mirror": True, **settings})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images of 12 x 12 pixels, grey ones, PNGs and broken ones among them."""
    files = {
        f"{part}/{name}/{i:02}.jpg": jpeg(100 * c + i, 12, 12)
        for part, each in {"train": 11, "val": 6}.items()
        for c, name in enumerate(("ant", "bee", "cat"))
        for i in range(each)
    }
    for part in ("train", "val"):
        files |= {f"{part}/bee/02.jpg": b"", f"{part}/bee/03.jpg": jpeg(3, 12, 12)[:300]}
        files |= {f"{part}/ant/04.png": encoded(picture(4, 12, 12).convert("L"), "PNG")}
    return write_folder(tmp_path, files)


def both(data: DataSpec, split: str, batch: int, shape=SHAPE, seed: int = 3, part=(0, 1)):
    """A pipeline of each kind over the same images, and these as they are held."""
    source = open_dataset(data, 0)
    held = hold([source.train, source.val], data, shape, 0, More())
    images, rest = (source.train if split == "train" else source.val), (data, split, batch, shape, seed)
    return Pipeline(images, *rest, 0, part=part), ResidentPipeline(images, *rest, held, More(), part), held


def check_batch(got, wanted, held, crop) -> None:
    rows = got.image.tolist()
    images = np.stack([placed(held.images[row[0]], row, crop) * (row[0] >= 0) for row in rows])
    np.testing.assert_array_equal(images, wanted.image)
    for name in ("label", "indices", "valid", "number"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), name)
    assert got.beside.keys() == wanted.beside.keys()
    for name, values in wanted.beside.items():
        np.testing.assert_array_equal(got.beside[name], values)


@pytest.mark.parametrize("settings", [
    {}, {"resize": 12}, {"resize": 12, "augment": EVERY}, {"augment": {"crop": None}, "mirror": False, "resize": 12},
])  # fmt: skip
@pytest.mark.parametrize(("split", "batch", "part"), [("train", 6, (0, 1)), ("train", 4, (1, 2)), ("val", 5, (0, 1))])
def test_batches_are_those_of_workers(folder, settings, split, batch, part):
    """With crops and without, of images that are resized to the crop's size; from the middle of an epoch on too."""
    read, resident, held = both(data_of(folder, **settings), split, batch, part=part)
    with read:
        for epoch, start in ((0, 0), (1, 2)) if split == "train" else ((0, 0), (0, 0)):
            pairs = zip(resident.epoch(epoch, start), read.epoch(epoch, start), strict=True)
            for got, wanted in pairs:
                check_batch(got, wanted, held, SHAPE[:2])
                wanted.release()
        assert set(read.broken) <= set(resident.broken) and len(resident.broken) == 2
    resident.close()


def test_a_set_of_many_tables(monkeypatch, folder):
    """Tables are made some batches at a time, and the next epoch's before this one has ended."""
    monkeypatch.setattr("netspec.data.resident._ROWS_AHEAD", 12)
    read, resident, held = both(data_of(folder, resize=12, augment=EVERY), "train", 5)
    read.tint_strength = resident.tint_strength = lambda epoch: 0.5 if epoch else 1.0
    with read:
        for epoch in range(3):
            for got, wanted in zip(resident.epoch(epoch), read.epoch(epoch), strict=True):
                check_batch(got, wanted, held, SHAPE[:2])
                wanted.release()
    resident.close()


def test_images_that_would_be_resized_and_then_cut_are_refused(folder):
    (folder / "train/ant/05.jpg").write_bytes(jpeg(5, 16, 13))
    with pytest.raises(ResizedError, match=r"ant/05.jpg has 16 x 13 pixels, to be resized to 15 x 12"):
        both(data_of(folder, resize=12), "train", 6)
    both(data_of(folder), "train", 6)  # resized, and shown whole


def test_a_set_without_a_readable_image_is_refused(tmp_path):
    folder = write_folder(tmp_path, {f"{part}/ant/{i}.jpg": b"none" for part in ("train", "val") for i in range(4)})
    with pytest.raises(NetspecError, match="none of the 4 images in"):
        both(data_of(folder), "train", 2)


def test_more_images_than_the_host_has_memory_for_are_refused_before_they_are_decoded(folder, monkeypatch):
    monkeypatch.setattr("netspec.data.resident.host_memory", lambda: 53 * 8 * 8 * 3 - 1)
    with pytest.raises(NetspecError, match=r"no host memory for 53 decoded images, 9\.94 KiB"):
        both(data_of(folder), "train", 6)


def test_too_few_images_for_a_batch(folder):
    with pytest.raises(NetspecError, match=r"lower train\.batch"):
        both(data_of(folder), "train", 50)


def test_words_of_many_are_those_of_each():
    images = np.array([0, 1, 77, 2**40])
    for seed, epoch, count, lane in ((5, 0, 3, 0), (2**64 - 1, 7, 9, 1 + 2**32), (-3, 2, 4, 0), (0, 0, 0, 1)):
        expected = [random_words(seed, epoch, int(image), count, lane=lane) for image in images]
        assert words_of_many(seed, epoch, images, count, lane).tolist() == expected


def test_an_epoch_that_is_over_has_no_batches(folder):
    data = replace(data_of(folder), augment={})
    _, resident, _ = both(data, "train", 6)
    assert list(resident.epoch(0, resident.batches)) == []
    resident.close()
