"""Where things stand in their files: functions, classes, what was raised; for messages."""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from itertools import count
from typing import Any


def place_of(function: Callable[..., Any], name: str = "") -> str:
    """``file:line`` of a function's ``def``.

    For a kernel that was made around functions of an author, it is that of the first, or of the one that writes an
    array of that name, or has a parameter of that name.
    """
    if hasattr(function, "__netspec_source__"):
        scope = function.__globals__
        functions = scope.get("scalars") or (scope.get("scalar", function),)
        asking = next((one for one in functions if name in _parameters(one)), functions[0])
        function = scope.get("writers", {}).get(name, asking)
    code = function.__code__
    if code.co_name == "<lambda>":
        return f"{code.co_filename}:{code.co_firstlineno}"
    lines = linecache.getlines(code.co_filename)
    for number in count(code.co_firstlineno):  # the first decorator's
        if number > len(lines):
            return f"{code.co_filename}:{code.co_firstlineno}"
        if lines[number - 1].lstrip().startswith("def "):
            return f"{code.co_filename}:{number}"
    raise AssertionError


def wrong(function: Callable[..., Any], words: str) -> TypeError:
    """What is wrong with a function, with its place first."""
    return TypeError(f"{place_of(function)}: {words}")


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    code = function.__code__
    return code.co_varnames[: code.co_argcount]


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
