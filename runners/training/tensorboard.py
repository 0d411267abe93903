"""TensorBoard event files: records of protocol buffers, each with its length and two checksums.

Written here, one write an event on the thread of whoever tells it, since the writers of libraries hand events to a
thread behind a bounded queue: where the disk is full the thread dies, and the next event waits for ever.

Formats, all in tensorflow/core: util/event.proto, framework/summary.proto, lib/io/record_writer.h.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from netspec.events import EvaluationDone, Event, IterationDone
from netspec.machine.atomic_files import told, write_all
from netspec.machine.cleanup import on_error

_CASTAGNOLI = 0x82F63B78
_START = 1
"""SessionLog.SessionStatus.START: events of later steps in older files are void."""


class TensorBoard:
    """A listener that writes losses, errors, rate and speed by iteration into a run directory.

    What lies there beyond ``iteration`` is void from now on. Raises NetspecError where the file cannot be made.
    """

    def __init__(self, folder: Path, iteration: int) -> None:
        path = folder / "tensorboard" / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
        with told(path):
            path.parent.mkdir(exist_ok=True)
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            with on_error(self.close):
                self._write(_text(3, "brain.Event:2"))
                if iteration:
                    self._write(_varint(2, iteration + 1) + _bytes(7, _varint(1, _START)))

    def __call__(self, event: Event) -> None:
        """Write an event down, if it is one of those. Raises OSError."""
        match event:
            case IterationDone():
                rest = {"rate": event.learning_rate, "images_per_second": event.images_per_second}
                self._add("train", event, {**rest, "waited": event.waited})
            case EvaluationDone():
                self._add(event.split, event, {})

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _add(self, group: str, event: IterationDone | EvaluationDone, rest: Mapping[str, float]) -> None:
        values = {"loss": event.loss, **event.errors, **rest}
        summary = b"".join(_bytes(1, _value(f"{group}/{name}", value)) for name, value in values.items())
        self._write(_varint(2, event.iteration) + _bytes(5, summary))

    def _write(self, message: bytes) -> None:
        """One Event, with the time, as one record."""
        data = struct.pack("<Bd", 1 << 3 | 1, time.time()) + message
        length = struct.pack("<Q", len(data))
        write_all(self._handle, length + _masked_crc(length) + data + _masked_crc(data))


def _value(tag: str, value: float) -> bytes:
    """Summary.Value: ``tag`` and ``simple_value``, a float32, in which large numbers are infinite."""
    try:
        number = struct.pack("<f", value)
    except OverflowError:
        number = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return _text(1, tag) + bytes([2 << 3 | 5]) + number


def _varint(field: int, value: int) -> bytes:
    return bytes([field << 3]) + _number(value)


def _text(field: int, text: str) -> bytes:
    return _bytes(field, text.encode("utf-8", "replace"))


def _bytes(field: int, data: bytes) -> bytes:
    return bytes([field << 3 | 2]) + _number(len(data)) + data


def _number(value: int) -> bytes:
    """Seven bits a byte, the lowest first; all but the last have the eighth set."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _table() -> list[int]:
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (_CASTAGNOLI if byte & 1 else 0)
        table.append(byte)
    return table


_TABLE = _table()


def _masked_crc(data: bytes) -> bytes:
    """CRC-32C, rotated and shifted so that a checksum of data that hold checksums is a good one."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 255] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)
