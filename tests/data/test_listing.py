"""Which class each image is of, and what is passed over: on disks and in archives alike."""

from __future__ import annotations

import os
import tarfile
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from data_samples import folder_source, message, names, tar_source
from PIL import Image

from netspec.data.dataset import Dataset, open_dataset, open_split
from netspec.data.index.classes import describe_unknown
from netspec.data.index.filenames import FORMATS, SUFFIXES
from netspec.spec.types import DataSpec

Make = Callable[..., Path]


@pytest.fixture(params=["folder", "archive", "archives"])
def place(request, tmp_path) -> Make:
    """Writes files (text: a link's target; None: a folder) and gives the path of the folder, or of archives of it."""

    def make(entries: dict[str, bytes | str | None], name: str = "set") -> Path:
        root = tmp_path / name
        for path, content in entries.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                (root / path).mkdir()
            elif isinstance(content, str):
                (root / path).symlink_to(content)
            else:
                (root / path).write_bytes(content)
        if request.param == "folder":
            return root
        if request.param == "archive":
            with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
                archive.add(root, "data")
            return tmp_path / f"{name}.tar"
        (tmp_path / f"{name}-tars").mkdir()
        for split in os.listdir(root):
            with tarfile.open(tmp_path / f"{name}-tars" / f"{split}.tar", "w") as archive:
                archive.add(root / split, split)
        return tmp_path / f"{name}-tars"

    return make


def opened(path: Path) -> Dataset:
    return tar_source(path) if path.suffix == ".tar" or path.name.endswith("-tars") else folder_source(path)


def many(*paths: str) -> dict[str, bytes | str | None]:
    return {path: path.encode() for path in paths}


def labels(data: Dataset, split: str = "train") -> dict[str, str]:
    """The class of each image by the name of its file."""
    images = getattr(data, split)
    return {name.rpartition("/")[2]: data.classes[images.labels[i]] for i, name in enumerate(names(images))}


def test_the_class_is_the_first_folder_below_the_split(place):
    train = many("train/cat/2019/1.png", "train/cat/2020/x/2.png", "train/dog/3.png")
    data = opened(place(train | many("val/dog/2020/4.png")))
    assert data.classes == ("cat", "dog")
    assert labels(data) == {"1.png": "cat", "2.png": "cat", "3.png": "dog"}
    assert labels(data, "val") == {"4.png": "dog"}


def test_tiny_imagenet(place):
    train = many(*(f"train/n0{c}/images/n0{c}_{i}.JPEG" for c in range(3) for i in range(2)), "train/n00/n00_boxes.txt")
    lines = b"val_0.JPEG\tn02\t0\t32\t44\t62\nval_1.JPEG\tn00\t3\t3\t4\t4\n"
    val = many("val/images/val_0.JPEG", "val/images/val_1.JPEG") | {"val/val_annotations.txt": lines}
    data = opened(place(train | val | many("test/images/test_0.JPEG")))
    assert data.classes == ("n00", "n01", "n02")
    assert labels(data, "val") == {"val_0.JPEG": "n02", "val_1.JPEG": "n00"}
    assert len(data.train) == 6
    assert data.notes[1].endswith(": no images of 1 of the training images' 3 classes: 'n01'")
    assert data.notes[2:] == ("passed over: 1 .txt",)
    assert data.val is not None
    assert data.val.read(0) == b"val/images/val_1.JPEG"


@pytest.mark.parametrize("flat", [many("val/1.jpg", "val/2.jpg"), many("val/images/1.jpg", "val/images/2.jpg")])
def test_validation_images_of_unknown_class_are_left_out_and_what_is_needed_is_said(place, flat):
    path = place(many("train/a/1.jpg", "train/b/1.jpg") | flat)
    data = opened(path)
    assert data.val is None
    assert data.notes[0].startswith("2 training and no validation images of 2 classes")
    assert "no validation: " in data.notes[1]
    assert "put them in class folders, or name the class of each in val_annotations.txt" in data.notes[1]
    attrs = {"type": "tar" if "tar" in path.name else "folder", "path": str(path)}
    named = {**attrs, "val": "val.tar" if path.name.endswith("tars") else "val"}
    assert "val_annotations.txt" in message(lambda: open_dataset(DataSpec(named), 0))
    assert "val_annotations.txt" in message(lambda: open_split(DataSpec(attrs), 0, "val", ["a", "b"]))


def test_what_the_label_file_and_the_images_do_not_share_is_counted(place):
    lines = {"val/val_annotations.txt": b"1.jpg b\n2.jpg a\nsub/3.jpg  a\nnone.jpg a\n\n"}
    images = many("train/a/1.jpg", "train/b/1.jpg", "val/1.jpg", "val/x/2.jpg", "val/sub/3.jpg", "val/4.jpg")
    data = opened(place(images | lines))
    assert labels(data, "val") == {"1.jpg": "b", "2.jpg": "a", "3.jpg": "a"}
    assert "images without a line in the list of their classes: 1 (" in data.notes[-1]
    assert "lines of the list of classes without an image: 1 (none.jpg)" in data.notes[-1]


def test_a_label_file_that_says_nothing_is_an_error(place):
    train = many("train/a/1.jpg", "val/1.jpg")
    said = message(lambda: opened(place(train | {"val/val_annotations.txt": b"1.jpg a\n2.jpg\n"})))
    assert "val/val_annotations.txt:2: expected a file's name and its class" in said.replace(".tar/val/", "/")
    said = message(lambda: opened(place(train | {"val/val_annotations.txt": b"9.jpg a\n"}, "other")))
    assert "val_annotations.txt names none of the images there" in said


def test_what_is_passed_over_is_counted_in_one_line(place):
    junk = many("train/a/@eaDir/1.jpg/SYNOPHOTO_THUMB.jpg", "train/@eaDir/x.jpg", "train/__MACOSX/a/._1.jpg",
                "train/.DS_Store", "train/a/._1.jpg", "train/a/Thumbs.db", "train/.ipynb_checkpoints/1.jpg",
                "train/a/1.txt", "train/a/2.TXT", "train/a/3.avif", "train/b/README", "train/sheet.jpg")  # fmt: skip
    links: dict[str, bytes | str | None] = {"train/gone": "nowhere", "train/a/up": "..", "train/b/self": "."}
    data = opened(place(many("train/a/1.jpg", "train/b/2.jpg") | junk | links))
    assert data.classes == ("a", "b")
    assert labels(data) == {"1.jpg": "a", "2.jpg": "b"}
    line = data.notes[-1].replace("data/train/", "train/")
    assert line == (
        "passed over: 2 .txt, 1 without a suffix, 1 .avif; "
        "files and folders of the system: 4 (train/@eaDir, ...); hidden files and folders: 3 (train/.DS_Store, ...); "
        "images outside of class folders: 1 (train/sheet.jpg); "
        "links to a folder that they lie in: 2 (train/a/up, ...); links to nowhere: 1 (train/gone)"
    )
    assert len([note for note in data.notes if "passed over" in note]) == 1


def test_more_suffixes_than_fit_in_a_line_are_summed_up(place):
    others = many(*(f"train/a/{i}.{'abcdefghij'[i]}" for i in range(10)))
    data = opened(place(many("train/a/1.jpg") | others))
    assert "1 .a, 1 .b, 1 .c, 1 .d, 1 .e, 1 .f, 4 with others" in data.notes[-1]


def test_nothing_to_pass_over_is_no_line(place):
    assert len(opened(place(many("train/a/1.jpg", "train/b/1.jpg"))).notes) == 1


def test_class_folders_may_be_links(place):
    links: dict[str, bytes | str | None] = {"train/dog": "cat", "train/cow": "pen/cow", "train/cat/3.jpg": "1.jpg"}
    data = opened(place(many("train/cat/1.jpg", "train/pen/cow/2.jpg") | links))
    assert data.classes == ("cat", "cow", "dog", "pen")
    assert sorted(name.rpartition("train/")[2] for name in names(data.train)) == [
        "cat/1.jpg", "cat/3.jpg", "cow/2.jpg", "dog/1.jpg", "dog/3.jpg", "pen/cow/2.jpg",
    ]  # fmt: skip
    assert {data.train.read(i) for i in range(6)} == {b"train/cat/1.jpg", b"train/pen/cow/2.jpg"}


def test_links_that_lead_in_circles_by_many_ways_are_an_error(place):
    farm = {f"train/a/d{i}/to{j}": f"../d{j}" for i in range(9) for j in range(9) if i != j}
    assert "lead to the same folders" in message(lambda: opened(place(many("train/a/1.jpg") | farm)))


def test_folders_without_end_are_an_error(place):
    deep = "train/a/" + "x/" * 70
    assert "nested over 64 deep" in message(lambda: opened(place(many(deep + "1.jpg"))))


def test_folders_without_images_are_no_class(place):
    entries = many("train/a/1.jpg", "train/b/notes.txt") | {"train/c": None}
    assert "no images in 'b', 'c'; put images there or remove" in message(lambda: opened(place(entries)))


def test_the_same_name_in_two_forms_of_unicode_is_one_class(place):
    forms = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    data = opened(place(many(f"train/{forms[1]}/1.jpg", "train/tea/1.jpg", f"val/{forms[0]}/2.jpg")))
    assert data.classes == (forms[0], "tea")
    assert labels(data, "val") == {"2.jpg": forms[0]}
    both = opened(place(many(f"train/{forms[0]}/1.jpg", f"train/{forms[1]}/2.jpg", "train/tea/1.jpg"), "both"))
    assert both.classes == (forms[0], "tea")
    assert both.train.labels.tolist() == [0, 0, 1]
    assert f"folders that differ only in their form of Unicode are one class: '{forms[0]}'" in both.notes


def test_classes_that_look_alike_are_told(place):
    data = opened(place(many(*(f"train/{name}/1.jpg" for name in ("cat", "Cat", "cat ", "tea")))))
    assert data.classes == ("Cat", "cat", "cat ", "tea")
    assert "classes that differ only in capitals or spaces: 'Cat', 'cat', 'cat '" in data.notes


def test_the_only_class_that_holds_folders_is_told(place):
    data = opened(place(many("train/mydata/cat/1.jpg", "train/mydata/dog/1.jpg")))
    assert data.classes == ("mydata",)
    assert "all images are of one class, 'mydata', the only folder there; the class of an image is" in data.notes[1]


@pytest.mark.parametrize("splits", [("Train", "Val"), ("Training", "TEST")])
def test_folders_called_as_splits_are_somewhere_are_no_classes(place, splits):
    assert "call the splits train and val" in message(
        lambda: opened(place(many(*(f"train/{split}/cat/1.jpg" for split in splits))))
    )
    assert opened(place(many("train/train/1.jpg", "train/bus/1.jpg"), "vehicles")).classes == ("bus", "train")


def test_names_that_would_move_the_cursor_are_shown_escaped(place):
    odd = "a\x1b[31m\n\u202eb"
    junk = many(f"train/{odd}/.h\x1b", f"train/{odd}/x.\x1b[") | {"train/\x1bgone": "nowhere"}
    data = opened(place(many(f"train/{odd}/1\x9b.jpg") | junk))
    told = [*data.classes, *names(data.train), *data.notes]
    assert data.classes == (r"a\x1b[31m\x0a\u202eb",)
    assert all(text.isprintable() for text in told)
    others = many("train/a/1.jpg", "val/b\x1b/1.jpg", "val/c\x07/1.jpg")
    assert message(lambda: opened(place(others, "others"))).isprintable()


def test_unknown_names_are_told_with_the_place_where_they_differ():
    known = ["cat", "Persian cat", "caf\u00e9"]
    assert describe_unknown(["horse"], known) == "'horse'"
    space = "'cat ' ('cat ' is not 'cat': it has U+0020 SPACE, the other its end there)"
    assert describe_unknown(["cat "], known) == space
    assert "it has U+0050 LATIN CAPITAL LETTER P" in describe_unknown(["Persian cat"], ["persian cat"])
    assert "it has U+0441 CYRILLIC SMALL LETTER ES, the other U+0063" in describe_unknown(["\u0441at"], known)
    assert describe_unknown([f"x{i}" for i in range(9)], known) == "'x0', 'x1', 'x2', 'x3', 'x4' and 4 more"


def test_suffixes_are_those_that_pillow_registers_for_the_formats_that_are_decoded():
    Image.init()
    formats = {*FORMATS, "MPO"}  # pictures of several JPEGs, which Pillow opens as JPEG
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    assert registered - {".pfm"} <= {suffix.decode() for suffix in SUFFIXES} <= registered | {".pfm"}
    assert {b".jfif", b".jpe"} < SUFFIXES
