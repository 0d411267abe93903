"""Files of one object a line: appended to whole, read back whatever they hold."""

import os

import pytest

from netspec.errors import NetspecError
from netspec.rundir import json_lines
from netspec.rundir.json_lines import Faults, Lines, numbered, parsed


def read(path):
    """The objects by line number, and what is told."""
    faults = Faults(path)
    found = {number: value for number, line in numbered(path, faults) if (value := parsed(number, line, faults))}
    return found, faults.told


def test_odd_lines_are_told_with_their_numbers_and_the_rest_is_read(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"a": 1}\nnot json\n{"b": 2}\n"\xff"\n{"c": 3}\n{"d": 4')
    found, told = read(path)
    assert found == {1: {"a": 1}, 3: {"b": 2}, 5: {"c": 3}}
    assert [line.partition(" ")[0] for line in told] == [f"{path}:2:", f"{path}:4:"]


def test_a_line_without_end_takes_no_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "LONGEST", 100)
    path = tmp_path / "x"
    path.write_bytes(b'{"a": 1}\n' + b"x" * 1000 + b'\n{"b": 2}\n' + b"y" * 100)
    found, told = read(path)
    assert found == {1: {"a": 1}, 3: {"b": 2}}
    assert told == (f"{path}:2: a line of more than 100 bytes", f"{path}:4: a line of more than 100 bytes")


def test_many_odd_lines_are_counted(tmp_path):
    path = tmp_path / "x"
    path.write_text("?\n" * 1000)
    assert read(path)[1][-1] == f"{path}: 997 more such lines"


@pytest.mark.parametrize("put", [lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_is_told_and_empty(tmp_path, put):
    path = tmp_path / "x"
    put(path)
    found, told = read(path)
    assert not found and len(told) == 1 and told[0].startswith(f"{path}: is a")
    with pytest.raises(NetspecError, match=r"x: is a"):
        Lines(path)


def test_a_file_larger_than_any_run_is_not_read(tmp_path):
    path = tmp_path / "x"
    path.write_text("")
    os.truncate(path, 2**42)
    assert read(path) == ({}, (f"{path}: is larger than 4.00 GiB",))
    with pytest.raises(NetspecError, match="does not consist of lines"):
        Lines(path)


def test_no_file_is_no_fault(tmp_path):
    assert read(tmp_path / "none") == ({}, ())


def test_a_torn_line_is_dropped_and_names_of_any_bytes_are_written(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"whole\n" + b"torn" * 50_000)
    file = Lines(path)
    file.write("from " + os.fsdecode(b"caf\xe9"))
    file.close()
    assert path.read_bytes() == b"whole\nfrom caf\\xe9\n"
