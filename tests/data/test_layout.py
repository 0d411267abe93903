"""Which source a path means."""

from __future__ import annotations

from data_samples import files, message, write_folder, write_tar

from netspec.data.dataset import open_dataset
from netspec.data.layout import source_from_path
from netspec.spec.types import DataSpec


def test_source_from_path(tmp_path):
    write_folder(tmp_path / "f", files(2, 1, "train/"))
    write_tar(tmp_path / "t/train.tar", files(2, 1))
    write_tar(tmp_path / "lone/pictures.tar", files(2, 1))
    write_folder(tmp_path / "bare", files(2, 1))
    cases = {
        "f": {"type": "folder", "path": "f"},
        "f/train": {"type": "folder", "path": "f"},
        "t": {"type": "tar", "path": "t"},
        "t/train.tar": {"type": "tar", "path": "t/train.tar"},
        "lone": {"type": "tar", "path": "lone/pictures.tar"},
        "bare": {"type": "folder", "path": "bare", "train": "."},
    }
    for given, expected in cases.items():
        found = source_from_path(tmp_path / given)
        assert found == {**expected, "path": str(tmp_path / expected["path"])}
        assert len(open_dataset(DataSpec(found), 0).train) == 2
    (tmp_path / "empty").mkdir()
    assert message(lambda: source_from_path(tmp_path / "empty")).endswith("it holds nothing")
    assert "no such folder" in message(lambda: source_from_path(tmp_path / "x"))
    assert f"did you mean {tmp_path}/f or {tmp_path}/t?" in message(lambda: source_from_path(tmp_path))



def test_images_deep_in_class_folders_are_found(tmp_path):
    write_folder(tmp_path / "deep", {"cat/2019/x/1.jpg": b"", "dog/2020/2.jpg": b"", "cat/.git/3.jpg": b""})
    assert source_from_path(tmp_path / "deep")["train"] == "."
    write_folder(tmp_path / "hidden", {"cat/.git/3.jpg": b"", "@eaDir/cat/1.jpg": b""})
    assert "no images found" in message(lambda: source_from_path(tmp_path / "hidden"))


def test_a_validation_split_alone_is_nothing_to_train_on(tmp_path):
    write_folder(tmp_path, files(1, 1, "test/"))
    assert "looked for DIR/CLASS/*.jpg, DIR/train/CLASS" in message(lambda: source_from_path(tmp_path))
    assert message(lambda: source_from_path(tmp_path)).endswith("it holds test/")
    assert source_from_path(tmp_path, evaluated=True) == {"type": "folder", "path": str(tmp_path)}


def test_a_folder_of_data_sets_is_not_one_of_classes(tmp_path):
    write_folder(tmp_path, files(1, 1, "one/train/") | files(1, 1, "two/train/"))
    assert f"did you mean {tmp_path}/one or {tmp_path}/two?" in message(lambda: source_from_path(tmp_path))


def test_links_to_themselves_hide_nothing(tmp_path):
    write_folder(tmp_path / "cat", {"1.jpg": b""})
    (tmp_path / "cat" / "0").symlink_to("0")
    (tmp_path / "a").symlink_to("a")
    assert source_from_path(tmp_path)["type"] == "folder"


def test_names_in_messages_are_printable(tmp_path):
    write_folder(tmp_path / "x\x1b[1m", {"y\x07/notes.txt": b""})
    said = message(lambda: source_from_path(tmp_path / "x\x1b[1m"))
    assert said.isprintable()
    assert r"y\x07/" in said
