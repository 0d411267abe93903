"""Where things stand in their files: functions, classes, what was raised; for messages."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from itertools import count
from typing import Any


def place_of(function: Callable[..., Any]) -> str:
    """``file:line`` of a function's ``def``; of the author's function, for a kernel that was made around one."""
    if hasattr(function, "__netspec_source__"):
        function = function.__globals__.get("scalar", function)
    code = function.__code__
    lines = linecache.getlines(code.co_filename)
    for number in count(code.co_firstlineno):  # the first decorator's
        if number > len(lines):
            return f"{code.co_filename}:{code.co_firstlineno}"
        if lines[number - 1].lstrip().startswith("def "):
            return f"{code.co_filename}:{number}"
    raise AssertionError


def text_at(file: str, line: int) -> str:
    """A line's text, without indentation and comment; "" where the file cannot be read."""
    return linecache.getline(file, line).strip().partition("  #")[0]


def file_of(cls: type) -> str | None:
    """The file that a class stands in; None where there is none, as for a notebook's."""
    return getattr(sys.modules.get(cls.__module__), "__file__", None)


def raised_at(error: BaseException, file: str | None) -> str:
    """``file:line`` of the innermost frame of a file that an exception has passed; "" where it passed none."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{file}:{lines[-1]}" if lines else ""
