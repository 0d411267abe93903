"""ILSVRC-2012 as it is given out, in three layouts, is one set with the right classes."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import ilsvrc_lookalike as lookalike
import pytest
from data_samples import message

from netspec.data.dataset import Dataset, open_dataset
from netspec.data.layout import source_from_path
from netspec.data.settings import DataSpec
from netspec.data.source import Split

LAYOUTS = {each.__name__: each for each in (lookalike.archives, lookalike.folders, lookalike.torchvision)}


def opened(folder: Path) -> Dataset:
    return open_dataset(DataSpec(source_from_path(folder)), 0)


def content(split: Split | None) -> list[tuple[str, int, bytes | object]]:
    assert split is not None
    return sorted((split.name(i).rpartition("/")[2], int(split.labels[i]), split.read(i)) for i in range(len(split)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_the_same_images_classes_and_words(tmp_path: Path, layout: str) -> None:
    found = opened(LAYOUTS[layout](tmp_path))
    assert found.classes == tuple(sorted(lookalike.WORDS))
    assert {name: found.words[name] for name in found.classes} == lookalike.WORDS
    place = {wnid: i for i, wnid in enumerate(found.classes)}
    expected = [
        (name, place[wnid], data) for wnid in lookalike.WORDS for name, data in lookalike.training_images(wnid, 6)
    ]
    assert content(found.train) == sorted(expected)
    images, truth = lookalike.validation(12)
    labels = [place[lookalike.IDS[number]] for number in truth]
    assert content(found.val) == [(name, label, data) for (name, data), label in zip(images, labels, strict=True)]


def test_training_archives_of_classes_in_a_folder(tmp_path: Path) -> None:
    """The outer archive unpacked, and no more."""
    whole = opened(lookalike.archives(tmp_path / "a"))
    images = [data for *_, data in content(whole.train)]
    with tarfile.open(tmp_path / "a" / "ILSVRC2012_img_train.tar") as archive:
        archive.extractall(tmp_path / "a" / "train", filter="data")
    (tmp_path / "a" / "ILSVRC2012_img_train.tar").unlink()
    unpacked = opened(tmp_path / "a")
    assert unpacked.classes == whole.classes
    assert content(unpacked.val) == content(whole.val)
    assert [data for *_, data in content(unpacked.train)] == images


def test_an_archive_beside_class_folders_is_no_class(tmp_path: Path) -> None:
    folder = lookalike.torchvision(tmp_path)
    lookalike.write(folder / "train" / "backup.tar", lookalike.tarred([("1.jpg", b"")]))
    found = opened(folder)
    assert found.type == "folder" and found.classes == tuple(sorted(lookalike.WORDS))


def test_what_is_wrong_with_lists_and_kits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = lookalike.folders(tmp_path / "lists")
    lines = (folder / "val.txt").read_text().splitlines()
    (folder / "val.txt").write_text("\n".join([*lines[:3], "a.JPEG tench"]))
    assert "val.txt:4: expected a file and the number of its class" in message(lambda: opened(folder))
    (folder / "val.txt").write_text("\n".join([*lines[:3], "a.JPEG 6"]))
    assert "val.txt:4: class 6, but synset_words.txt has 6" in message(lambda: opened(folder))
    (folder / "val.txt").write_text("\n".join(lines))
    (folder / "synset_words.txt").unlink()
    assert "synsets.txt or synset_words.txt beside it must name the classes" in message(lambda: opened(folder))
    kit = lookalike.archives(tmp_path / "kit")
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert "pip install 'netspec[ilsvrc]'" in message(lambda: opened(kit))


def test_a_damaged_kit_is_told(tmp_path: Path) -> None:
    folder = lookalike.archives(tmp_path)
    path = folder / "ILSVRC2012_devkit_t12.tar.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "ILSVRC2012_devkit_t12.tar.gz: " in message(lambda: opened(folder))
    path.unlink()
    files = lookalike.devkit([1, 77])
    for name, data in files.items():
        lookalike.write(folder / name, data)
    assert "has the id 77, which meta.mat does not know" in message(lambda: opened(folder))
    lookalike.write(folder / "ILSVRC2012_devkit_t12/data/meta.mat", b"no matrix")
    assert "meta.mat is damaged" in message(lambda: opened(folder))


def test_a_damaged_archive_within_the_archive_is_told(tmp_path: Path) -> None:
    folder = lookalike.archives(tmp_path)
    path = folder / "ILSVRC2012_img_train.tar"
    with tarfile.open(path) as archive:
        second = archive.getmembers()[1]
        third = tarfile.open(fileobj=archive.extractfile(second)).getmembers()[2]
    data = bytearray(path.read_bytes())
    at = second.offset_data + third.offset
    data[at : at + 512] = b"\x01" * 512
    path.write_bytes(data)
    assert "ILSVRC2012_img_train.tar: is damaged near byte" in message(lambda: opened(folder))
