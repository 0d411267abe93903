"""Whole runs on images of which some are bad: what is left out, counted, listed and told."""

import os
from pathlib import Path

import pytest
from data_samples import encoded, jpeg, picture, write_folder
from training_runs import spec, told, train

from netspec.api import evaluate
from netspec.errors import NetspecError
from netspec.events import EvaluationDone, Note

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
    assert {event.images for event in told(events, EvaluationDone)} == {15 + len(ODD)}
    lines = (result.folder / "broken-images.txt").read_text().splitlines()
    names = ["ant/link.jpg", "bee/empty.jpg", "bee/short.jpg", "bee/text.png"]
    assert [line.partition(": ")[0] for line in lines] == names + names[1:]
    assert lines[0] == "ant/link.jpg: No such file or directory"
    assert lines[1] == lines[4] == "bee/empty.jpg: an empty file"
    assert lines[3] == lines[6] == "bee/text.png: not an image in a known format"
    assert "7 images could not be read" in " ".join(note.text for note in told(events, Note))
    heard: list = []
    evaluate(result.folder, listener=heard.append)
    assert {event.images for event in told(heard, EvaluationDone)} == {15 + len(ODD)}


def test_too_many_broken_images_end_the_run(spec, tmp_path):
    folder = images(tmp_path / "images")
    write_folder(folder, {f"train/bee/bad{i}.jpg": b"" for i in range(9)})
    with pytest.raises(NetspecError, match=r"1\d of 66 images are broken, more than 5%\n  "):
        train(spec, data=folder, epochs=2)
