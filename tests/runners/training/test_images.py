"""Whole runs on images of which some are bad: what is left out, counted, listed and told."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from data_samples import encoded, jpeg, picture, write_folder
from training_runs import spec, told, train

from netspec.api import evaluate
from netspec.data.dataset import open_dataset
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, Note
from netspec.runners.training import checkpoint
from netspec.runners.training.resume import check_data
from netspec.runners.training.saver import listed
from netspec.spec.types import DataSpec

__all__ = ["spec"]

ODD = {
    "png named.jpg": encoded(picture(1, 12, 12), "PNG"),
    "jpeg named.png": jpeg(2, 12, 12),
    "cmyk.jpg": encoded(picture(3, 12, 12).convert("CMYK")),
    "grey.jpg": encoded(picture(4, 12, 12).convert("L")),
}
BROKEN = {"empty.jpg": b"", "short.jpg": jpeg(5, 12, 12)[:500], "text.png": b"no image at all"}


def images(root: Path) -> Path:
    """Three classes, 16 training and 5 validation images each, and in one of them odd ones and broken ones."""
    sizes = {"train": 16, "val": 5}
    good = {
        f"{part}/{name}/{i:02}.jpg": jpeg(100 * c + i, 12, 12)
        for part, each in sizes.items()
        for c, name in enumerate(("ant", "bee", "cat"))
        for i in range(each)
    }
    bad = {f"{part}/bee/{name}": content for part in sizes for name, content in (ODD | BROKEN).items()}
    folder = write_folder(root, good | bad)
    (folder / "train/ant/link.jpg").symlink_to("nowhere.jpg")
    Path(os.fsdecode(os.fsencode(folder) + b"/train/cat/\xff.jpg")).write_bytes(jpeg(6, 12, 12))
    return folder


def test_broken_images_are_left_out_counted_and_listed(spec, tmp_path):
    folder = images(tmp_path / "images")
    result, events = train(spec, data=folder, epochs=2)
    assert result.status == "finished"
    assert {(event.images, event.broken) for event in told(events, EvaluationDone)} == {(15 + len(ODD), len(BROKEN))}
    lines = (result.folder / "broken-images.txt").read_text().splitlines()
    names = ["ant/link.jpg", "bee/empty.jpg", "bee/short.jpg", "bee/text.png"]
    both = [*(f"train: {name}" for name in names), *(f"val: {name}" for name in names[1:])]
    assert [line.rpartition(": ")[0] for line in lines] == both
    assert lines[0] == "train: ant/link.jpg: No such file or directory"
    assert lines[4] == "val: bee/empty.jpg: an empty file"
    assert lines[6] == "val: bee/text.png: not an image in a known format"
    assert "7 images could not be read" in " ".join(note.text for note in told(events, Note))
    heard: list = []
    evaluate(result.folder, listener=heard.append)
    assert {event.images for event in told(heard, EvaluationDone)} == {15 + len(ODD)}


def test_too_many_broken_images_end_the_run(spec, tmp_path):
    folder = images(tmp_path / "images")
    write_folder(folder, {f"train/bee/bad{i}.jpg": b"" for i in range(9)})
    with pytest.raises(NetspecError, match=r"1\d of 66 images in .*/train are broken, more than 5 %\n  "):
        train(spec, data=folder, epochs=2)


def nested(root: Path) -> Path:
    """Two classes with folders in them."""
    return write_folder(root, {f"{part}/{name}/{year}/{i}.jpg": jpeg(i, 12, 12) for part in ("train", "val")
                               for name in ("ant", "bee") for year in (2019, 2020) for i in range(4)})  # fmt: skip


def test_a_run_that_took_inner_folders_for_classes_is_told_so(spec, tmp_path):
    """As version 0.1 did."""
    folder = nested(tmp_path / "images")
    result, _ = train(spec, data=folder, epochs=1)
    assert (result.folder / "classes.txt").read_text() == "ant\nbee\n"
    record = replace(checkpoint.read(listed(result.folder / "checkpoints")[0]).record, classes=("2019", "2020"))
    with pytest.raises(NetspecError) as error:
        check_data(record, record.data, open_dataset(DataSpec({"type": "folder", "path": str(folder)}), 0))
    assert "classes: 2 -> 2; the run has '2019', '2020'; there are 'ant', 'bee'" in str(error.value)
    assert "the class of an image is the first folder below its split" in str(error.value)


def test_validation_images_without_classes_do_not_stop_a_run(spec, tmp_path):
    folder = nested(tmp_path / "images")
    shutil.rmtree(folder / "val")
    write_folder(folder, {f"test/{i}.jpg": jpeg(i, 12, 12) for i in range(3)})
    _, events = train(spec, data=folder, epochs=1, overrides="data.split=0")
    notes = [note.text for note in told(events, Note)]
    assert not told(events, EvaluationDone)
    assert any("no validation: " in note and "3 images in no class folder" in note for note in notes)


def test_a_validation_split_with_no_readable_image_ends_the_run(spec, tmp_path):
    folder = nested(tmp_path / "images")
    for path in (folder / "val").rglob("*.jpg"):
        path.unlink() if "2020" in path.parts else path.write_bytes(b"<html>429</html>")
    with pytest.raises(NetspecError, match=r"none of the 8 images in .*/val can be read"):
        train(spec, data=folder, epochs=1)


def test_names_of_classes_and_images_reach_no_listener_raw(spec, tmp_path):
    odd = "an\x1b[31mt\n\u202e"
    folder = write_folder(tmp_path / "images", {
        f"{part}/{name}/{i}\x07.jpg": jpeg(i, 12, 12) if i else b""
        for i in range(9) for part in ("train", "val") for name in (odd, "bee")
    })  # fmt: skip
    write_folder(folder, {"train/bee/notes.\x1b": b"", "train/bee/.\x9b": b""})
    result, events = train(spec, data=folder, epochs=1)
    texts = [note.text for note in told(events, Note)]
    for name in ("log.txt", "classes.txt", "broken-images.txt"):
        texts += (result.folder / name).read_text().split("\n")
    assert all(line.isprintable() for text in texts for line in text.split("\n"))
    assert (result.folder / "classes.txt").read_text() == "an\\x1b[31mt\\x0a\\u202e\nbee\n"
    resumed, _ = train(None, resume=result.folder, epochs=2)
    assert resumed.epoch == 2


def test_more_workers_than_are_of_use_are_told(spec, tmp_path):
    _, events = train(spec, data=nested(tmp_path / "images"), epochs=1, workers=100)
    assert any("data workers instead of 100" in note.text for note in told(events, Note))
