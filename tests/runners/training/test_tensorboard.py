"""TensorBoard's event files: records as TensorFlow writes them."""

import math
import struct

import pytest
from training_runs import spec, train

from netspec.events import EvaluationDone, IterationDone, Note
from netspec.runners.training.tensorboard import TensorBoard, _masked_crc

__all__ = ["spec"]


def varint(data, place):
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def fields(data):
    """Field numbers and values of a protocol buffer, as its encoding says."""
    place, found = 0, []
    while place < len(data):
        key, place = varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = varint(data, place)
        elif kind == 2:
            size, place = varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            size, form = {1: (8, "<d"), 5: (4, "<f")}[kind]
            (value,), place = struct.unpack(form, data[place : place + size]), place + size
        found.append((key >> 3, value))
    return found


def events(folder):
    """Each record of the only event file, after its checksums have been looked at."""
    (path,) = (folder / "tensorboard").glob("events.out.tfevents.*")
    data = path.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        record = data[12 : 12 + size]
        assert data[8:12] == _masked_crc(data[:8]) and data[12 + size : 16 + size] == _masked_crc(record)
        yield dict(fields(record))
        data = data[16 + size :]


def scalars(event):
    values = [dict(fields(value)) for number, value in fields(event[5]) if number == 1]
    return {value[1].decode(): value[2] for value in values}


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),  # the check value of the CRC catalogue
        (bytes(32), 0x8A9136AA),  # RFC 3720, B.4
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_are_masked_crc_32c(data, crc):
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert _masked_crc(data) == struct.pack("<I", masked)


def test_scalars_by_iteration(tmp_path):
    board = TensorBoard(tmp_path, 0)
    board(Note("nothing to draw"))
    board(IterationDone(1, 300, 1.5, {"top1": 0.25}, 0.125, 1e60, 0.5, 0.1))
    board(EvaluationDone(1, 300, "val", math.nan, {"top1": 0.75}, 10, 1.0))
    board.close()
    version, iteration, evaluation = events(tmp_path)
    assert version[3] == b"brain.Event:2"
    assert iteration[2] == evaluation[2] == 300
    expected = {"loss": 1.5, "top1": 0.25, "rate": 0.125, "images_per_second": math.inf, "waited": 0.5}
    assert scalars(iteration) == {f"train/{name}": value for name, value in expected.items()}
    assert math.isnan(scalars(evaluation)["val/loss"]) and scalars(evaluation)["val/top1"] == 0.75


def test_what_lies_beyond_a_resumptions_start_is_void(tmp_path):
    TensorBoard(tmp_path, 299).close()
    _, session = events(tmp_path)
    assert (session[2], session[7]) == (300, b"\x08\x01")


def test_a_run_writes_each_iteration_and_evaluation(spec):
    result, _ = train(spec, iterations=7, tensorboard=True)
    found = [(event[2], *scalars(event)) for event in list(events(result.folder))[1:]]
    assert [each[0] for each in found] == [1, 2, 3, 4, 5, 5, 6, 7, 7]
    assert all("train/loss" in each or "val/loss" in each for each in found)
