"""The lock of a run directory is a file of its own: nothing else is truncated, waited for or followed."""

import os

import pytest

from netspec.errors import NetspecError
from netspec.rundir.directory import RunDirectory
from netspec.rundir.lock import LOCK, Lock, is_locked


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda path, other: path.symlink_to(other), "is a link, which is not followed"),
        (lambda path, other: os.link(other, path), "is a hard link"),
        (lambda path, other: os.mkfifo(path), "is a FIFO, not a file"),
        (lambda path, other: path.mkdir(), "is a directory, not a file"),
        (lambda path, other: path.symlink_to("nowhere"), "is a link, which is not followed"),
        (lambda path, other: path.symlink_to(path.name), "is a link, which is not followed"),
    ],
    ids=["link", "second name", "FIFO", "folder", "to nowhere", "to itself"],
)
def test_what_stands_in_the_locks_place_is_told_and_left_as_it_is(tmp_path, put, said):
    other = tmp_path / "other"
    other.write_text("another's")
    (tmp_path / "run").mkdir()
    put(tmp_path / "run" / LOCK, other)
    assert not is_locked(tmp_path / "run")
    for open_it in (Lock, RunDirectory):
        with pytest.raises(NetspecError, match=f"run/lock: .*{said}"):
            open_it(tmp_path / "run")
    assert other.read_text() == "another's" and not is_locked(tmp_path / "run")


def test_a_lock_of_any_content_can_be_taken_and_is_asked_no_further(tmp_path):
    (tmp_path / LOCK).write_bytes(b"\xff" * 1000)
    lock = Lock(tmp_path)
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    with pytest.raises(NetspecError, match=f"process {os.getpid()} is training here"):
        Lock(tmp_path)
    lock.release()
    Lock(tmp_path).release()
