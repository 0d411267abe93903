"""Sources: what they find, in which order, and what they say when it is not there."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from data_samples import files, folder_source, jpeg, message, names, real, tar_source, write_folder, write_tar

from netspec.data import source as source_contract
from netspec.data.dataset import open_dataset, unused_outputs
from netspec.data.known_sources import source_types
from netspec.data.source import BrokenImage
from netspec.spec.types import DataSpec


def test_types_are_found_by_walking_the_folder_and_need_neither_numpy_nor_pil():
    assert list(source_types()) == ["arrays", "cifar", "folder", "generated", "moving", "placed", "table", "tar"]
    code = (
        "import sys; from netspec.data.known_sources import source_types; source_types();"
        "print([name for name in ('numpy', 'PIL', 'jsonschema') if name in sys.modules])"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.parametrize("layout", ["folder", "tars", "one tar", "one tar with ./"])
def test_every_layout_gives_the_same_images_labels_and_classes(tmp_path, layout):
    train, val = files(3, 4), {"class2/x.png": jpeg(7), "class0/y.JPEG": jpeg(8)}
    both = {f"train/{k}": v for k, v in train.items()} | {f"val/{k}": v for k, v in val.items()}
    if layout == "folder":
        source = folder_source(write_folder(tmp_path, both))
    elif layout == "tars":
        write_tar(tmp_path / "train.tar", {f"train/{k}": v for k, v in reversed(train.items())})
        write_tar(tmp_path / "test.tar", val)
        source = tar_source(tmp_path)
    else:
        prefix = "./" if layout.endswith("./") else ""
        source = tar_source(write_tar(tmp_path / "all.tar", {prefix + k: v for k, v in both.items()}))
    assert source.classes == ("class0", "class1", "class2")
    assert source.train.labels.dtype == np.int32
    assert source.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert [source.train.read(i) for i in range(12)] == list(train.values())
    assert source.val is not None
    assert source.val.labels.tolist() == [0, 2]
    assert source.val.read(0) == jpeg(8)
    assert [name.rpartition("class")[2] for name in names(source.val)] == ["0/y.JPEG", "2/x.png"]
    copy = pickle.loads(pickle.dumps(source))
    assert copy.train.read(5) == source.train.read(5)


def test_train_and_val_are_chosen_by_name(tmp_path):
    for name, each in (("small", 2), ("large", 3), ("val", 1)):
        write_folder(tmp_path / name, files(2, each))
        write_tar(tmp_path / f"{name}.tar", files(2, each))
    for kind, end in (("folder", ""), ("tar", ".tar")):
        attrs = {"type": kind, "path": str(tmp_path), "train": "large" + end, "val": "small" + end}
        source = open_dataset(DataSpec(attrs), 0)
        assert (len(source.train), len(source.val or ())) == (6, 4)


def test_a_folder_passes_over_what_is_no_image_and_follows_links(tmp_path):
    write_folder(tmp_path / "train", {"a/1.jpg": b"1", "a/readme.txt": b"", "a/._1.jpg": b"", ".git/b/2.jpg": b""})
    write_folder(tmp_path / "elsewhere", {"3.jpg": b"3"})
    (tmp_path / "train" / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "train" / "a" / "pipe.jpg")
    source = folder_source(tmp_path)
    assert names(source.train) == ["a/1.jpg", "linked/3.jpg"]
    assert source.val is None


def test_links_to_nowhere_and_to_themselves_are_broken_images(tmp_path):
    folder = write_folder(tmp_path / "train", {"a/1.jpg": b"1"}) / "a"
    for name, target in (("2.jpg", "gone.jpg"), ("3.jpg", "3.jpg"), ("4.txt", "4.txt"), ("5.jpg", "1.jpg")):
        (folder / name).symlink_to(target)
    split = folder_source(tmp_path).train
    assert names(split) == ["a/1.jpg", "a/2.jpg", "a/3.jpg", "a/5.jpg"]
    assert split.read(3) == b"1"
    for i in (1, 2):
        with pytest.raises(OSError):
            split.read(i)


def test_a_pipe_in_place_of_an_image_is_broken_and_does_not_block(tmp_path):
    write_folder(tmp_path / "train", {"a/1.jpg": b"1"})
    source = folder_source(tmp_path)
    (tmp_path / "train/a/1.jpg").unlink()
    os.mkfifo(tmp_path / "train/a/1.jpg")
    with pytest.raises(BrokenImage, match="not a regular file"):
        source.train.read(0)


def test_names_that_are_not_utf8(tmp_path):
    odd = b"train/caf\xe9/\xff.jpg"
    path = os.fsencode(tmp_path) + b"/" + odd
    os.makedirs(os.path.dirname(path))
    Path(os.fsdecode(path)).write_bytes(b"odd")
    write_tar(tmp_path / "train.tar", {odd.decode("utf-8", "surrogateescape"): b"odd"})
    for source in (folder_source(tmp_path), tar_source(tmp_path)):
        assert source.classes == (r"caf\xe9",)
        assert source.train.name(0).endswith(r"caf\xe9/\xff.jpg")
        assert source.train.read(0) == b"odd"


def test_errors_of_folders(tmp_path):
    assert "no such folder of images" in message(lambda: folder_source(tmp_path / "nowhere"))
    write_folder(tmp_path / "other", files(1, 1))
    assert "holds other/" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train").mkdir()
    assert "no images found" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/1.jpg").write_bytes(b"")
    assert "1 image in no class folder" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/1.jpg").unlink()
    write_folder(tmp_path / "train", files(2, 1))
    (tmp_path / "train/hollow").mkdir()
    assert "no images in 'hollow'" in message(lambda: folder_source(tmp_path))
    (tmp_path / "train/hollow").rmdir()
    write_folder(tmp_path / "val", files(4, 1))
    assert "not classes of the training images: 'class2', 'class3'" in message(lambda: folder_source(tmp_path))


def test_files_beyond_the_size_limit_are_broken(tmp_path, monkeypatch):
    write_folder(tmp_path, {"train/a/1.jpg": b"x" * 1001})
    write_tar(tmp_path / "train.tar", {"train/a/1.jpg": b"x" * 1001})
    monkeypatch.setattr(source_contract, "MAX_FILE_BYTES", 1000)
    for source in (folder_source(tmp_path), tar_source(tmp_path)):
        with pytest.raises(BrokenImage, match="1,001 bytes; files over 1,000 bytes are not read"):
            source.train.read(0)


def test_attributes_are_checked():
    def opened(**source: object) -> str:
        return message(lambda: open_dataset(DataSpec(source), 0))

    assert opened(type="foldr") == "data.source: unknown type 'foldr' (did you mean 'folder'?)"
    assert "there are: arrays, cifar, folder, generated, moving, placed, table, tar" in opened(type="sql")
    assert "'path' is a required property" in opened(type="tar")
    assert opened(type="generated", classes=2000).startswith("data.source.classes: 2000 is greater than")
    assert "'imgs' was unexpected" in opened(type="generated", imgs=1)


def test_what_is_told_of_a_set(tmp_path):
    source = folder_source(write_folder(tmp_path, files(3, 4, "train/")))
    assert source.notes == (f"12 training and no validation images of 3 classes from {tmp_path} (folder)",)
    assert "drawn by the program; real ones: --data DIR" in open_dataset(DataSpec(), 0).notes[0]
    assert unused_outputs(source, 3) is unused_outputs(source, None) is None
    assert "outputs 3 to 9 are never the answer" in (unused_outputs(source, 10) or "")


def test_real_archives():
    source = tar_source(real("imagenette"))
    assert source.classes[:2] == ("n01440764", "n02102040")
    assert source.val is not None
    assert np.bincount(source.train.labels).tolist() == [400] * 10
    assert np.bincount(source.val.labels).tolist() == [100] * 10
    assert source.train.read(0)[:2] == source.val.read(999)[:2] == b"\xff\xd8"
