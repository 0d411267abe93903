"""Sets to be evaluated: matched with a network's classes by their names, without any training images."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest
from data_samples import files, jpeg, message, write_folder, write_tar

from netspec.data.dataset import EvaluationSet, open_dataset, open_split
from netspec.data.layout import source_from_path
from netspec.data.source import SplitName
from netspec.spec.types import DataSpec

CLASSES = ("class2", "class0", "class1")
"""In an order that no listing gives."""


def opened(path: Path, split: SplitName = "val", classes: tuple[str, ...] = CLASSES) -> EvaluationSet:
    return open_split(DataSpec(source_from_path(path, evaluated=True)), 0, split, classes)


@pytest.mark.parametrize("name", ["", "val/", "validation/", "valid/", "test/"])
@pytest.mark.parametrize("kind", ["folder", "archive", "archive in a folder"])
def test_no_training_images_are_needed(tmp_path, name, kind):
    content = files(3, 2, name)
    if kind == "folder":
        path = write_folder(tmp_path / "set", content)
    elif kind == "archive":
        path = write_tar(tmp_path / "x.tar", content)
    else:
        path = write_tar(tmp_path / f"{name.strip('/') or 'val'}.tar", files(3, 2)).parent
    found = opened(path)
    assert found.split.labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert found.split.read(0) == content[f"{name}class0/000.jpg"]
    assert found.notes[0].startswith(f"6 validation images of 3 classes from {path}")
    assert len(found.notes) == 1


def test_the_training_images_are_not_looked_at(tmp_path):
    write_folder(tmp_path, files(3, 1, "val/"))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "1.jpg").write_bytes(b"")
    assert len(opened(tmp_path).split) == 3


def test_the_training_split_can_be_evaluated(tmp_path):
    write_folder(tmp_path / "both", files(3, 2, "train/") | files(3, 1, "val/"))
    assert len(opened(tmp_path / "both", "train").split) == 6
    assert len(opened(write_folder(tmp_path / "bare", files(2, 4)), "train").split) == 8


def test_class_folders_called_train_are_evaluated_where_they_are_named(tmp_path):
    write_folder(tmp_path, files(3, 2, "train/") | files(3, 1, "val/"))
    assert len(opened(tmp_path / "train").split) == 6
    assert len(opened(tmp_path).split) == 3


def test_a_set_without_validation_images_says_so(tmp_path):
    content = files(3, 2, "train/")
    for path in (write_folder(tmp_path / "a", content), write_tar(tmp_path / "x.tar", content)):
        said = message(lambda path=path: opened(path))
        assert "no validation images; --split train evaluates the training images" in said


def test_classes_may_be_lacking(tmp_path):
    found = opened(write_folder(tmp_path, {"class1/1.jpg": jpeg(1), "class2/1.jpg": jpeg(2)}))
    assert found.split.labels.tolist() == [2, 0]
    assert found.notes[1] == f"{tmp_path}: no images of 1 of the network's 3 classes: 'class0'"


def test_classes_that_the_network_does_not_have_are_an_error(tmp_path):
    write_folder(tmp_path, files(3, 1) | {"Class1/1.jpg": jpeg(1), "horse/1.jpg": jpeg(2)})
    assert message(lambda: opened(tmp_path)) == (
        f"{tmp_path}: not classes of the network: 'Class1', 'horse' ('Class1' is not 'class1': it has U+0043 LATIN "
        "CAPITAL LETTER C, the other U+0063 LATIN SMALL LETTER C); leave them out, or rename them"
    )


def test_names_are_matched_in_any_form_of_unicode(tmp_path):
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    for recorded, there in (forms, forms[::-1]):
        path = write_folder(tmp_path / recorded, {f"{there}/1.jpg": jpeg(1), "tea/2.jpg": jpeg(2)})
        assert opened(path, classes=("tea", recorded)).split.labels.tolist() == [1, 0]


def test_names_with_control_characters_are_matched(tmp_path):
    path = write_folder(tmp_path, {"a\x1b/1.jpg": jpeg(1), "b/2.jpg": jpeg(2)})
    for recorded in ("a\x1b", r"a\x1b"):
        assert opened(path, classes=("b", recorded)).split.labels.tolist() == [1, 0]


def test_the_inner_folders_of_a_nested_set_are_told_to_be_no_classes(tmp_path):
    content = {f"val/{c}/{y}/1.jpg": jpeg(1) for c in ("cat", "dog") for y in ("2019", "2020")}
    said = message(lambda: opened(write_folder(tmp_path, content), classes=("2019", "2020")))
    assert "not classes of the network: 'cat', 'dog'; those are '2019', '2020'; the class of an image is the" in said


def test_generated_pictures_are_matched_too():
    data = DataSpec({"type": "generated", "classes": 3, "images": 6, "val_images": 4})
    names = open_dataset(data, 0).classes
    split = open_split(data, 0, "val", names[::-1]).split
    assert split.labels.tolist() == [2, 1, 0, 2]
    assert split.name(0) == f"val/{names[0]}/0"


def test_flat_folders_say_what_is_needed(tmp_path):
    flat = write_folder(tmp_path / "flat", {"1.jpg": jpeg(1), "2.jpg": jpeg(2)})
    assert "its images lie in no class folders; put them in class folders, or name" in message(lambda: opened(flat))
    (flat / "val_annotations.txt").write_text("1.jpg\tclass1\n2.jpg\tclass0\n")
    assert opened(flat).split.labels.tolist() == [1, 2]
