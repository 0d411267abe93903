"""The reader of run files takes regular files of bounded size and depth; anything else is told in a line."""

import json
import os
from pathlib import Path

import pytest

from netspec.rundir.run_files import MAX_DEPTH, Damaged, descriptor, opened, read_json, read_text


def nested(levels):
    return '{"a": ' * levels + "1" + "}" * levels


@pytest.mark.parametrize(
    ("put", "said"),
    [
        (lambda path: path.mkdir(), "is a directory, not a file"),
        (os.mkfifo, "is a FIFO, not a file"),
        (lambda path: path.symlink_to("nowhere"), "is a link, which is not followed"),
        (lambda path: path.symlink_to("/dev/zero"), "is a link, which is not followed"),
        (lambda path: path.write_bytes(b"{" * 2**20 + b"{"), "is larger than 1.00 MiB"),
        (lambda path: path.write_bytes(b'{"a": "\xff"}'), "is not UTF-8 at byte 7"),
        (lambda path: path.write_bytes(b""), "is not JSON"),
        (lambda path: path.write_bytes(b"[1, 2]"), "is JSON, but no object"),
        (lambda path: path.write_bytes(b'{"a": 1}x'), "is not JSON"),
    ],
)
def test_what_is_no_such_file_is_told(tmp_path, put, said):
    path = tmp_path / "start.json"
    put(path)
    with pytest.raises(Damaged, match=said) as caught:
        read_text(path, 2**20)
        read_json(path, 2**20)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_depth_is_bounded(tmp_path):
    path = tmp_path / "x"
    path.write_text(nested(MAX_DEPTH))
    assert read_json(path)["a"]
    for levels in (MAX_DEPTH + 1, 900, 100_000):
        path.write_text(nested(levels))
        with pytest.raises(Damaged, match=f"is nested deeper than {MAX_DEPTH} levels"):
            read_json(path)


def test_a_device_is_no_file():
    with pytest.raises(Damaged, match="is a device, not a file"):
        opened(Path(os.devnull))


def test_a_file_that_is_not_there_is_not_damaged(tmp_path):
    with pytest.raises(FileNotFoundError):
        opened(tmp_path / "none")


def test_what_is_written_to_has_one_name(tmp_path):
    path = tmp_path / "log.txt"
    os.close(descriptor(path, os.O_RDWR | os.O_CREAT))
    os.link(path, tmp_path / "other")
    with pytest.raises(Damaged, match=r"log\.txt: is a hard link: its other name would"):
        descriptor(path, os.O_RDWR | os.O_CREAT)
    with opened(path) as file:
        assert file.read() == b""


def test_a_disk_that_does_not_read_is_told(tmp_path, monkeypatch):
    path = tmp_path / "x"
    path.write_text(json.dumps({}))

    def fail(*args, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("netspec.rundir.run_files.os.open", fail)
    with pytest.raises(Damaged, match="x: cannot be read: input/output error"):
        read_json(path)
