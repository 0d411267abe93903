"""Writing files aside: whatever stands in the way is removed or told, never written through, and no error is lost."""

import errno
import os

import pytest

from netspec.errors import NetspecError
from netspec.machine import atomic_files
from netspec.machine.atomic_files import remove_unfinished, replacing, write_text, write_whole


def test_a_folder_that_becomes_read_only_keeps_its_message(tmp_path, monkeypatch):
    """Then nothing can be opened, and what was begun cannot be removed either."""

    def refuse(*args, **options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(atomic_files.os, "fsync", lambda handle: refuse())
    with pytest.raises(NetspecError, match=r"cannot write .*x\.json: the file system is read-only; choose another"):
        write_text(tmp_path / "x.json", "{}")


def test_a_folder_that_is_none_any_more_keeps_its_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NetspecError, match=r"cannot write .*x: Not a directory"):
        write_whole(tmp_path / "file" / "x", [b"x"])


@pytest.mark.parametrize("kind", ["link", "fifo", "second name"])
def test_nothing_is_written_through_a_file_that_stands_aside(tmp_path, kind):
    other, aside = tmp_path / "other", tmp_path / "x.unfinished"
    other.write_text("another's")
    if kind == "link":
        aside.symlink_to(other)
    elif kind == "fifo":
        os.mkfifo(aside)
    else:
        os.link(other, aside)
    write_text(tmp_path / "x", "mine")
    assert ((tmp_path / "x").read_text(), other.read_text()) == ("mine", "another's")
    assert sorted(os.listdir(tmp_path)) == ["other", "x"]


def test_a_link_is_replaced_by_a_file(tmp_path):
    (tmp_path / "other").write_text("another's")
    (tmp_path / "x").symlink_to(tmp_path / "other")
    write_text(tmp_path / "x", "mine")
    assert not (tmp_path / "x").is_symlink() and (tmp_path / "other").read_text() == "another's"


def test_a_folder_of_an_unfinished_files_name_is_told(tmp_path):
    (tmp_path / "x.unfinished").mkdir()
    with pytest.raises(NetspecError, match=r"cannot write .*x\.unfinished: "):
        remove_unfinished(tmp_path)


def test_a_name_that_is_no_text_is_written_as_its_escape(tmp_path):
    write_text(tmp_path / "x", "from " + os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "x").read_bytes() == rb"from caf\xe9"


def test_what_a_library_writes_takes_the_name_when_it_is_whole(tmp_path):
    path, other = tmp_path / "x", tmp_path / "other"
    path.write_text("old")
    other.write_text("another's")
    (tmp_path / "x.unfinished").symlink_to(other)
    with replacing(path) as aside:
        aside.write_text("new")
        assert path.read_text() == "old"
    assert (path.read_text(), other.read_text()) == ("new", "another's")
    with pytest.raises(NetspecError, match=r"cannot write .*x: the disk is full"), replacing(path) as aside:
        aside.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "new" and sorted(os.listdir(tmp_path)) == ["other", "x"]
