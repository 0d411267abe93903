"""Checkpoint files: read back as written, readable by others, never half there, damage named."""

import functools
import json
import os
import random
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import run_damage
from hypothesis import given
from hypothesis import strategies as st
from records import RECORD
from safetensors import safe_open
from safetensors.numpy import save_file

from netspec.errors import NetspecError
from netspec.machine import atomic_files
from netspec.rundir.run_files import Damaged
from netspec.runners.training import checkpoint as checkpoint_file
from netspec.runners.training.checkpoint import (
    Checkpoint,
    read,
    read_record,
    record_from,
    record_text,
    write,
)

TENSORS = {
    "fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fc.bias": np.zeros(0, np.float32),
    "norm.count": np.array(5, np.int64),
    "image.mean": np.full((2, 2, 3), 0.5, np.float64),
}
CHECKPOINT = Checkpoint(RECORD, TENSORS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "one.safetensors"
    write(file, CHECKPOINT)
    return file


def assert_same(found: Checkpoint) -> None:
    assert found.record == RECORD
    assert found.tensors.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        assert found.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(found.tensors[name], array)


def test_reads_back_as_written(path):
    found = read(path)
    assert_same(found)
    assert read_record(path) == RECORD
    assert found.path == path


def test_the_safetensors_library_reads_it(path):
    with safe_open(path, "np") as file:
        assert set(file.keys()) == set(TENSORS)
        np.testing.assert_array_equal(file.get_tensor("fc.weight"), TENSORS["fc.weight"])
        assert json.loads(file.metadata()["netspec"])["iteration"] == 12


def test_writing_is_repeatable_and_counts_bytes(path, tmp_path):
    count = write(tmp_path / "two", Checkpoint(RECORD, dict(reversed(TENSORS.items()))))
    assert (tmp_path / "two").read_bytes() == path.read_bytes()
    assert count == path.stat().st_size


def test_every_damaged_byte_is_found(path):
    whole = path.read_bytes()
    rng = random.Random(0)
    places = {*range(16), len(whole) - 1, *rng.sample(range(len(whole)), 400)}
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :])
        try:
            found = read(path)
        except NetspecError as error:
            assert str(path) in str(error)
        else:  # padding and JSON's own white space mean nothing
            assert_same(found)


def test_a_file_cut_off_at_any_byte_is_damaged(path):
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(Damaged, match="damaged"):
            read(path)


def test_what_is_no_checkpoint_is_said_to_be_none(tmp_path):
    save_file({"a": np.zeros(3)}, tmp_path / "foreign")
    with pytest.raises(Damaged, match="not a netspec checkpoint"):
        read(tmp_path / "foreign")
    with pytest.raises(NetspecError, match="no such run or checkpoint"):
        read(tmp_path / "absent")
    with pytest.raises(NetspecError, match="is a directory, not a file"):
        read(tmp_path)
    with pytest.raises(NetspecError, match="foreign: is not JSON"):
        record_from(tmp_path / "foreign")


def test_another_format_is_named(tmp_path):
    write(tmp_path / "new", Checkpoint(replace(RECORD, format=9), TENSORS))
    with pytest.raises(NetspecError, match=r"checkpoint format 9 by netspec 0\.1\.0; this version reads format 1"):
        read(tmp_path / "new")


def _failing_at(limit: int, error: int):
    """An os.write for a disk on which ``limit`` more bytes fit."""
    left, real = limit, os.write

    def write(handle: int, data: bytes) -> int:
        nonlocal left
        if not left and data:
            raise OSError(error, os.strerror(error))
        done = real(handle, data[:left])
        left -= done
        return done

    return write


def test_a_disk_full_at_any_byte_leaves_the_old_file_whole(path, monkeypatch):
    old = path.read_bytes()
    for k in range(len(old)):
        with monkeypatch.context() as patch:
            patch.setattr(atomic_files.os, "write", _failing_at(k, 28))
            with pytest.raises(
                NetspecError, match=r"cannot write .*one.safetensors: the disk is full; free some space"
            ):
                write(path, CHECKPOINT)
        assert path.read_bytes() == old
        assert os.listdir(path.parent) == ["one.safetensors"]


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_other_calls_that_fail_leave_it_whole_too(path, monkeypatch, call):
    def fail(*args):
        raise OSError(5, "Input/output error")

    old = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(atomic_files.os, call, fail)
        with pytest.raises(NetspecError, match="Input/output error"):
            write(path, CHECKPOINT)
    assert path.read_bytes() == old


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(NetspecError, match="No such file or directory"):
        write(tmp_path / "gone" / "one", CHECKPOINT)


@given(st.data())
def test_cut_and_pasted_files_end_in_one_message(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "pasted.safetensors"
    write(file, CHECKPOINT)
    whole = file.read_bytes()
    places = st.integers(0, len(whole))
    start, stop, paste = data.draw(places), data.draw(places), data.draw(st.binary(max_size=40))
    file.write_bytes(whole[:start] + paste + whole[stop:])
    try:
        found = read(file)
    except NetspecError as error:
        assert str(error).startswith(str(file))
    else:
        assert_same(found)


OTHER = Checkpoint(
    replace(RECORD, iteration=13, evaluated=None),
    {name: array + np.ones((), array.dtype) for name, array in TENSORS.items()},
)


@given(st.data())
def test_pieces_of_two_files_are_neither(tmp_path_factory, data):
    """The older checkpoint's bytes in the middle of the newer one's, as a disk that loses sectors may leave them."""
    file = tmp_path_factory.getbasetemp() / "spliced.safetensors"
    parts = []
    for checkpoint in (CHECKPOINT, OTHER):
        write(file, checkpoint)
        parts.append(file.read_bytes())
    places = st.integers(0, min(map(len, parts)))
    start, stop = sorted((data.draw(places), data.draw(places)))
    spliced = parts[0][:start] + parts[1][start:stop] + parts[0][stop:]
    file.write_bytes(spliced)
    try:
        found = read(file)
    except NetspecError as error:
        assert str(error).startswith(str(file))
    else:
        assert spliced in parts or found.record == RECORD


@pytest.mark.parametrize("sealed_by", [0, 1])
def test_a_record_does_not_go_with_another_checkpoints_tensors(tmp_path, sealed_by):
    file, found = tmp_path / "one.safetensors", []
    for checkpoint in (CHECKPOINT, OTHER):
        write(file, checkpoint)
        with safe_open(file, "np") as opened:
            found.append(opened.metadata())
    own, other = (json.loads(each["crc32"]) for each in found)
    crc32 = json.dumps({**own, "": other[""]})  # each sum is right, the record's too
    save_file(TENSORS, file, {"netspec": found[1]["netspec"], "crc32": crc32, "seal": found[sealed_by]["seal"]})
    with pytest.raises(Damaged, match="its record is not what was written"):
        read(file)


def _leaves(value, path=()):
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*path, key))


JUNK = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})


@given(st.data())
def test_an_edited_record_is_told_even_where_its_checksum_fits(tmp_path_factory, data):
    file = tmp_path_factory.getbasetemp() / "edited.safetensors"
    values = json.loads(record_text(RECORD))
    *parents, last = data.draw(st.sampled_from([path for path in _leaves(values) if path]))
    place = functools.reduce(lambda part, key: part[key], parents, values)
    if data.draw(st.booleans()):
        place[last] = data.draw(JUNK)
    else:
        place.pop(last)
    text = json.dumps(values)
    sums = {name: checkpoint_file._checksum(name, array) for name, array in TENSORS.items()}
    crc32 = json.dumps({"": zlib.crc32(text.encode()), **sums})
    save_file(TENSORS, file, {"netspec": text, "crc32": crc32})
    try:
        found = read(file).record
    except NetspecError as error:
        assert str(error).startswith(str(file)) and "\n" not in str(error)
    else:
        assert f"{found.iteration + 1:,} {found.score:g} {found.batch:,} {', '.join(found.classes)}"
        assert isinstance({**found.spec, **found.given, **found.data}, dict)


HOSTILE = {
    "beyond 64 bits": {"iteration": 2**63},
    "beyond any run": {"epoch": 2**48},
    "below zero": {"position": -1},
    "a truth value": {"iteration": True},
    "a fraction": {"iteration": 12.0},
    "a text": {"epoch": "2"},
    "a seed beyond 64 bits": {"seed": 2**63},
    "a batch of none": {"batch": 0},
    "a position beyond the set": {"position": 6},
    "a later evaluation": {"evaluated": {"iteration": 13, "loss": 0.1, "errors": {}}},
    "an evaluation of another kind": {"evaluated": {"iteration": 1, "loss": "low", "errors": {}}},
    "an evaluation with more": {"evaluated": {"iteration": 1, "loss": 0.1, "errors": {}, "x": 1}},
    "errors that are none": {"validation_errors": [0.5, None]},
    "errors in a text": {"validation_errors": "0.5"},
    "classes in a text": {"classes": "ant"},
    "classes that are numbers": {"classes": [1, 2]},
    "a spec without layers": {"spec": {"name": "fake"}},
    "layers without names": {"given": {"layers": [{}]}},
    "layers in a map": {"spec": {"layers": {"a": {"name": "a"}}}},
    "images in a list": {"data": {"train": [22]}},
    "kernels that are numbers": {"tuned": {"conv1": 3}},
    "what nobody knows": {"colour": "red"},
    "a format that is none": {"format": "1"},
    "depth": {"data": {"train": json.loads("[" * 500 + "]" * 500)}},
}


@pytest.mark.parametrize("values", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("as_file", ["checkpoint", "start.json"])
def test_a_record_that_cannot_be_is_told_though_its_sums_are_right(tmp_path, values, as_file):
    file, text = tmp_path / as_file, json.dumps({**json.loads(record_text(RECORD)), **values})
    if as_file == "checkpoint":
        run_damage.write(file, text, TENSORS)
    else:
        file.write_text(text)
    with pytest.raises(Damaged) as caught:
        read(file) if as_file == "checkpoint" else record_from(file)
    assert str(caught.value).startswith(f"{file}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [key for key in json.loads(record_text(RECORD)) if key not in ("tuned", "evaluated")])
def test_a_key_that_is_missing_is_named(tmp_path, key):
    values = json.loads(record_text(RECORD))
    del values[key]
    (tmp_path / "start.json").write_text(json.dumps(values))
    if key in ("validation_errors", "netspec", "environment", "plugins", "init_from", "words"):  # have defaults
        record_from(tmp_path / "start.json")
    else:
        with pytest.raises(Damaged, match=rf"start\.json: damaged: its record cannot be read: '{key}' is missing"):
            record_from(tmp_path / "start.json")


FOREIGN = ["[" * 100_000, "[]", "7", '"format"', "null", "{}", '{"format": 1}', '{"format": [1]}']


@pytest.mark.parametrize("text", FOREIGN)
def test_records_of_another_make(tmp_path, text):
    file = tmp_path / "foreign.safetensors"
    save_file(TENSORS, file, {"netspec": text, "crc32": json.dumps({"": zlib.crc32(text.encode())})})
    with pytest.raises(NetspecError, match=r"foreign\.safetensors: "):
        read(file)
    save_file(TENSORS, file, {"netspec": text, "crc32": text})
    with pytest.raises(NetspecError, match=r"foreign\.safetensors: "):
        read(file)


def test_a_scalar_stays_one(path):
    assert {name: array.shape for name, array in read(path).tensors.items()} == {n: a.shape for n, a in TENSORS.items()}
