"""Files of one JSON object a line: appended to as things happen, read back line by line."""

from __future__ import annotations

import os
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from netspec.machine.atomic_files import told, write_all
from netspec.machine.cleanup import on_error
from netspec.machine.names import ESCAPED
from netspec.rundir.run_files import Damaged, as_object, descriptor, opened, unreadable
from netspec.units import size

LONGEST = 2**20
"""Bytes of a line; longer ones are passed over."""
MOST_BYTES = 4 * 2**30
"""Bytes of a file: fourteen million iterations."""
_TOLD = 3


class Lines:
    """Appends lines to a file, each with one write, so that a killed process leaves whole lines but for the last."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with told(path):
            self._handle = descriptor(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
            with on_error(self.close):
                self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        size = os.fstat(self._handle).st_size
        start = max(size - LONGEST, 0)
        whole = os.pread(self._handle, LONGEST, start).rfind(b"\n") + 1
        if start and not whole:
            raise Damaged(self.path, f"does not consist of lines: there is none in its last {LONGEST:,} bytes")
        os.ftruncate(self._handle, start + whole)

    def write(self, line: str) -> None:
        """Append one line. Raises NetspecError when the disk will not take it."""
        with told(self.path):
            write_all(self._handle, line.encode("utf-8", ESCAPED) + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)


@dataclass(slots=True)
class Faults:
    """What is wrong with lines of a file, or with the file: the first few, and how many more there are."""

    path: Path
    first: list[str] = field(default_factory=list)
    more: int = 0

    def add(self, number: int, reason: str) -> None:
        """A line's number, from 1, and what is wrong with it."""
        self._add(f"{self.path}:{number}: {reason}")

    def _add(self, text: str) -> None:
        if len(self.first) < _TOLD:
            self.first.append(text)
        else:
            self.more += 1

    def damaged(self, error: Damaged) -> None:
        """The file itself cannot be read, or not further."""
        self._add(str(error))

    @property
    def told(self) -> tuple[str, ...]:
        """Lines for people."""
        return (*self.first, f"{self.path}: {self.more:,} more such lines") if self.more else tuple(self.first)


def numbered(path: Path, faults: Faults) -> Generator[tuple[int, bytes], None, None]:
    """Each line of a file with its number; none where there is no file. Lines that are too long are faults."""
    try:
        with opened(path) as file:
            if os.fstat(file.fileno()).st_size > MOST_BYTES:
                raise Damaged(path, f"is larger than {size(MOST_BYTES)}")
            number = 0
            while line := file.readline(LONGEST):
                number += 1
                if len(line) < LONGEST or line.endswith(b"\n"):
                    yield number, line
                    continue
                faults.add(number, f"a line of more than {LONGEST:,} bytes")
                while line and not line.endswith(b"\n"):
                    line = file.readline(LONGEST)
    except FileNotFoundError:
        return
    except OSError as error:
        faults.damaged(unreadable(path, error))
    except Damaged as error:
        faults.damaged(error)


def parsed(number: int, line: bytes, faults: Faults) -> dict[str, Any] | None:
    """The object of a line; None, and a fault, where there is none. A last line that a kill cut off is no fault."""
    try:
        return as_object(faults.path, line.decode())
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except Damaged as error:
        reason = error.reason
    if line.endswith(b"\n"):
        faults.add(number, reason)
    return None
