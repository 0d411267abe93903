"""``data.split``: which training images are held out where a set has no validation images."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import files, jpeg, message, names, write_folder, write_tar

from netspec.data.dataset import Dataset, open_dataset, open_split
from netspec.data.held_out import held_count
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.planning.trainable import drawn_images
from netspec.spec import load

CLASSES = ("class0", "class1", "class2")


def opened(path: Path, split: float | None = 0.25, **more: Any) -> Dataset:
    return open_dataset(DataSpec(source_from_path(path), split=split, **more), 0)


def held(source: Dataset) -> set[str]:
    """Class folder and file of each held-out image, in Unicode's composed form."""
    assert source.val is not None
    return {unicodedata.normalize("NFC", "/".join(name.split("/")[-2:])) for name in names(source.val)}


@pytest.mark.parametrize(
    ("images", "share", "count"),
    [(1, 0.1, 0), (2, 0.1, 1), (2, 0.9, 1), (10, 0.1, 1), (15, 0.1, 2), (14, 0.1, 1), (100, 0.25, 25), (50, 0.0, 0)],
)
def test_a_share_of_a_class_is_at_least_one_image_and_never_all(images: int, share: float, count: int) -> None:
    assert held_count(images, share) == count


def test_each_class_gives_its_share_and_no_image_is_in_both(tmp_path: Path) -> None:
    source = opened(write_folder(tmp_path / "photos", files(3, 8)))
    assert source.is_held_out and source.val is not None and source.classes == CLASSES
    assert np.bincount(source.val.labels).tolist() == [2, 2, 2]
    assert np.bincount(source.train.labels).tolist() == [6, 6, 6]
    both = [*names(source.train), *names(source.val)]
    assert sorted(both) == sorted(files(3, 8))
    assert source.train.read(0) == files(3, 8)[names(source.train)[0]]
    line = "no validation images there: 25 % of each class, 6 images, are held out (data.split)"
    assert line in source.notes and source.notes[0].startswith("18 training and 6 validation images of 3 classes")


def test_the_seed_of_the_run_changes_nothing_and_the_splits_own_does(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", files(3, 20))
    data = DataSpec(source_from_path(folder), split=0.25)
    assert held(open_dataset(data, 1)) == held(open_dataset(data, 2))
    assert held(opened(folder, split_seed=1)) != held(open_dataset(data, 1))


def test_a_folder_and_archives_of_it_hold_out_the_same_images(tmp_path: Path) -> None:
    content = {f"{name}/{'sub/' * (i % 2)}été {i}.jpg": jpeg(i) for name in ("ant", "Käfer") for i in range(12)}
    wanted = held(opened(write_folder(tmp_path / "photos", content)))
    apart = {unicodedata.normalize("NFD", name): data for name, data in content.items()}
    assert held(opened(write_folder(tmp_path / "apart", apart))) == wanted
    below = {f"train/{name}": data for name, data in content.items()}
    assert held(opened(write_folder(tmp_path / "below", below))) == wanted
    for prefix in ("", "train/", "photos/train/"):
        packed = write_tar(tmp_path / f"{len(prefix)}.tar", {prefix + name: data for name, data in content.items()})
        assert held(opened(packed)) == wanted


def test_images_that_are_added_move_few_others(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", files(1, 40))
    before = held(opened(folder))
    write_folder(folder, {f"class0/more{i}.jpg": jpeg(i) for i in range(4)})
    after = held(opened(folder))
    assert len(after) == 11 and len(before & after) >= 6


def test_a_class_with_one_image_keeps_it_and_says_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {**files(2, 8), "lone/wolf.jpg": jpeg(9)})
    source = opened(folder)
    assert source.val is not None and sorted(set(source.val.labels.tolist())) == [0, 1]
    assert any("1 class with one image, which is trained on, not held out: 'lone'" in note for note in source.notes)
    source = opened(write_folder(tmp_path / "each", files(3, 1)))
    assert source.val is None and not source.is_held_out
    assert any("no class has two images" in note for note in source.notes)


def test_validation_images_of_its_own_come_first(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {**files(3, 8, "train/"), **files(3, 2, "val/")})
    source = opened(folder)
    assert source.val is not None and len(source.train) == 24 and len(source.val) == 6 and not source.is_held_out
    assert any("data.split holds nothing out" in note for note in source.notes)


def test_unlabelled_validation_images_leave_the_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", {**files(3, 8, "train/"), "test/1.jpg": jpeg(1)})
    source = opened(folder)
    assert source.is_held_out and source.val is not None and len(source.val) == 6
    assert any(note.startswith("no validation: ") for note in source.notes)


def test_without_it_nothing_is_held_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", files(3, 8, "train/"))
    for split in (None, 0.0):
        source = opened(folder, split)
        assert source.val is None and len(source.train) == 24 and not any("held out" in note for note in source.notes)


def test_drawn_images_and_arrays_can_be_held_out_too(tmp_path: Path) -> None:
    source = {"type": "generated", "classes": 3, "images": 24, "val_images": 0, "size": 0}
    drawn = open_dataset(DataSpec(source, split=0.25), 0)
    assert drawn.val is not None and drawn.train.mean_images == 256
    assert drawn.val.at_size(20).read(0).size == (20, 20)  # type: ignore[union-attr]
    folder = tmp_path / "set/train"
    folder.mkdir(parents=True)
    numbers = np.arange(40, dtype=np.float32).reshape(20, 2)
    np.save(folder / "pose.npy", numbers)
    np.save(folder / "label.npy", np.arange(20) % 2)
    arrays = open_dataset(DataSpec({"type": "arrays", "path": str(folder.parent)}, split=0.25), 0)
    assert arrays.val is not None and arrays.val.arrays is not None and len(arrays.val) == 6
    some = arrays.val.values("pose", np.array([1, 3]))
    assert some.shape == (2, 2) and not set(some[:, 0]) & set(arrays.train.values("pose", np.arange(14))[:, 0])


def test_what_was_held_out_is_evaluated(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", files(3, 8))
    data = DataSpec(source_from_path(folder), split=0.25)
    source = open_dataset(data, 0)
    found = {part: open_split(data, 0, part, CLASSES[::-1]) for part in ("train", "val")}  # type: ignore[arg-type]
    assert source.val is not None
    for part, split in (("train", source.train), ("val", source.val)):
        assert names(found[part].split) == names(split)
        assert (found[part].split.labels == 2 - split.labels).all()
    assert found["val"].notes[0].startswith("6 validation images of 3 classes")
    own = write_folder(tmp_path / "whole", {**files(3, 4, "train/"), **files(3, 2, "val/")})
    whole = open_split(DataSpec(source_from_path(own), split=0.25), 0, "val", CLASSES)
    assert len(whole.split) == 6
    each = DataSpec(source_from_path(write_folder(tmp_path / "each", files(3, 1))), split=0.25)
    assert "no class has two images" in message(lambda: open_split(each, 0, "val", CLASSES))


@pytest.mark.parametrize("images", [3, 7, 24, 31])
def test_what_is_held_out_of_drawn_images_is_known_beforehand(images: int) -> None:
    source = {"type": "generated", "classes": 3, "images": images, "val_images": 0, "size": 0}
    spec = replace(load("quickstart"), data=DataSpec(source, split=0.2))
    drawn, known = open_dataset(spec.data, 0), drawn_images(spec)
    assert known is not None and (known.train, known.val) == (len(drawn.train), len(drawn.val or ()))
