"""safetensors headers say nothing that is believed: sizes are checked against the file before memory is asked for."""

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from netspec.errors import NetspecError
from netspec.exchange import tensor_file
from netspec.rundir.run_files import Damaged, opened

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((0, 4), np.int8),
    "scalar": np.array(7, np.int64),
}
GOOD = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def write(path: Path, header, data=bytes(24), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def read(path: Path):
    with opened(path) as file:
        header = tensor_file.read_header(path, file)
        return header, tensor_file.read_arrays(path, file, header)


def test_what_is_written_is_read_by_this_and_by_the_library(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"".join(tensor_file.pieces({"netspec": "é"}, ARRAYS)))
    header, arrays = read(path)
    assert header.metadata == {"netspec": "é"}
    with safe_open(path, "np") as file:
        for name, array in ARRAYS.items():
            for found in (arrays[name], file.get_tensor(name)):
                assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_what_the_library_writes_is_read(tmp_path):
    save_file(ARRAYS, tmp_path / "x")
    assert {name: array.tolist() for name, array in read(tmp_path / "x")[1].items()} == {
        name: array.tolist() for name, array in ARRAYS.items()
    }


BAD = {
    "a shape larger than its bytes": {"a": {**GOOD, "shape": [2, 2**40]}},
    "a product beyond 64 bits": {"a": {**GOOD, "shape": [2**40, 2**40, 0], "data_offsets": [0, 0]}},
    "a count beyond 2**63": {"a": {**GOOD, "shape": [2**64, 3]}},
    "a negative count": {"a": {**GOOD, "shape": [-2, -3]}},
    "a truth value": {"a": {**GOOD, "shape": [True, 6]}},
    "a fraction": {"a": {**GOOD, "shape": [2.0, 3]}},
    "a dtype that is none": {"a": {**GOOD, "dtype": "F31"}},
    "a dtype that numpy has not": {"a": {**GOOD, "dtype": "BF16", "data_offsets": [0, 12]}},
    "many axes": {"a": {**GOOD, "shape": [1] * 100 + [6]}},
    "places beyond the file": {"a": {**GOOD, "data_offsets": [2**40, 2**40 + 24]}},
    "places that end before they begin": {"a": {**GOOD, "data_offsets": [24, 0]}},
    "three places": {"a": {**GOOD, "data_offsets": [0, 12, 24]}},
    "a gap": {"a": {**GOOD, "shape": [5], "data_offsets": [4, 24]}},
    "arrays over one another": {"a": GOOD, "b": GOOD},
    "bytes that are nobody's": {"a": {**GOOD, "shape": [5], "data_offsets": [0, 20]}},
    "no shape": {"a": {"dtype": "F32", "data_offsets": [0, 24]}},
    "an array that is a text": {"a": "x"},
    "metadata that are none": {"__metadata__": {"netspec": 3}, "a": GOOD},
    "metadata that are a list": {"__metadata__": [], "a": GOOD},
    "a list": [GOOD],
    "no JSON": b"{",
    "no text": b"\xff\xff",
    "depth": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("header", BAD.values(), ids=BAD)
def test_a_header_that_cannot_be_is_told_before_memory_is_asked_for(tmp_path, header):
    path = write(tmp_path / "x.safetensors", header)
    tracemalloc.start()
    with pytest.raises(Damaged) as caught:
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)
    assert peak < 32 * 2**20


@pytest.mark.parametrize("length", [0, 1, 2**31, 2**63, 2**64 - 1])
def test_a_length_that_cannot_be(tmp_path, length):
    with pytest.raises(Damaged):
        read(write(tmp_path / "x", {"a": GOOD}, length=length))


def test_a_file_of_holes_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(tensor_file, "host_memory", lambda: 2**30)
    path = write(tmp_path / "x", {"a": {"dtype": "U8", "shape": [2**41], "data_offsets": [0, 2**41]}}, data=b"")
    os.truncate(path, path.stat().st_size + 2**41)
    with pytest.raises(NetspecError, match=r"x: holds 2\.00 TiB of tensors; this machine has"):
        read(path)


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path):
    """Were it mapped into memory, the process would be killed by SIGBUS."""
    path = write(tmp_path / "x", {"a": {"dtype": "U8", "shape": [2**20], "data_offsets": [0, 2**20]}}, bytes(2**20))
    with opened(path) as file:
        header = tensor_file.read_header(path, file)
        os.truncate(path, 2**19)
        with pytest.raises(Damaged, match="it ends before its last array"):
            tensor_file.read_arrays(path, file, header)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.lists(st.integers(-1, 30))
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "U8", "I64", "F8_E4M3", ""]) | VALUES,
        "shape": st.lists(st.integers(-1, 7), max_size=3) | VALUES,
        "data_offsets": st.lists(st.integers(0, 32), min_size=2, max_size=2) | VALUES,
    }
)


@given(st.dictionaries(st.text(max_size=2), ENTRY | VALUES, max_size=3), st.integers(0, 32))
def test_what_is_taken_is_taken_by_the_library_too(tmp_path_factory, header, size):
    path = write(tmp_path_factory.getbasetemp() / "any.safetensors", header, bytes(size))
    try:
        _, arrays = read(path)
    except Damaged:
        return
    try:
        with safe_open(path, "np") as file:
            assert set(file.keys()) == set(arrays)
    except SafetensorError as error:
        raise AssertionError(header) from error
