"""What is wrong with a text that is not YAML.

Told from the characters at the parser's marks: libyaml, PyYAML's own parser and their versions word one fault
differently, and read ahead differently far.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import yaml

from netspec.spec.nodes import MAX_DEPTH

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
TOO_DEEP = (f"nested deeper than {MAX_DEPTH} levels", "a spec needs no more than a few")
_MISFIT = ("this line does not fit the ones above", "check its indentation, and that it reads 'key: value'")
_QUOTED = re.compile(r""" "(?: \\. | [^"\\] )*" | '(?: '' | [^'] )*' """, re.VERBOSE | re.DOTALL)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SURROGATE = re.compile(r"\\(u|U0000)[dD][89a-fA-F]")
"""The escape of a byte of a path that is not UTF-8, as Python has it: libyaml refuses it, PyYAML itself does not."""


_Told = tuple[int, str, str]
"""Offset, message, remedy."""


class Fault(NamedTuple):
    """Where a text stops being YAML (row and column, counted from 0), why, and what to do."""

    row: int
    column: int
    message: str
    remedy: str | None


def events(text: str) -> Iterator[Any]:
    """The parser's events of a text. Raises yaml.YAMLError."""
    loader = (yaml.SafeLoader if _SURROGATE.search(text) else _LOADER)(text)
    try:
        while loader.check_event():
            yield loader.get_event()
    finally:
        loader.dispose()


def explain(error: yaml.MarkedYAMLError, text: str) -> Fault:
    """What the parser stopped at, in plain words where there are some, else in its own."""
    stop = _Stop(error, text)
    deep = _too_deep(text[: stop.end])
    if deep is not None:
        return Fault(deep.line, deep.column, *TOO_DEEP)
    told = _tab(stop) or (_grammar(stop) if stop.grammar else _token(stop))
    at, message, remedy = told or (stop.end, f"YAML syntax: {error.problem or error.context}", None)
    return Fault(*stop.place(at), message, remedy)


def _too_deep(text: str) -> Any:
    """Where a text goes beyond the allowed depth, else None.

    A parser with a limit of its own reads ahead, and may refuse a text before it has given a single event of it. What
    lies before the place where it stopped, it reads.
    """
    depth = 0
    with suppress(yaml.YAMLError):
        for event in events(text):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_DEPTH:
                return event.start_mark
    return None


class _Stop:
    """Where the parser stopped: ``end``, and where what it was reading began, if it says: ``start``; both offsets.

    ``here`` is the character at the end, ``before`` what stands before it on its line, ``opener`` the character at the
    start.
    """

    def __init__(self, error: yaml.MarkedYAMLError, text: str) -> None:
        self.text = text
        self.rows = [0, *(match.end() for match in LINE_BREAK.finditer(text))]
        self.grammar = isinstance(error, yaml.parser.ParserError)  # tokens that do not fit each other
        self.end = self._offset(error.problem_mark) or 0
        self.start = self._offset(error.context_mark)
        self.here = text[self.end : self.end + 1]
        self.before = text[self.rows[self.place(self.end)[0]] : self.end]
        self.opener = "" if self.start is None else text[self.start : self.start + 1]

    def _offset(self, mark: Any) -> int | None:
        if mark is None:
            return None
        row, column = int(mark.line), int(mark.column)  # libyaml puts the end of a text on a line after it
        return min(self.rows[row] + column, len(self.text)) if row < len(self.rows) else len(self.text)

    def place(self, offset: int) -> tuple[int, int]:
        """Row and column of an offset."""
        row = bisect_right(self.rows, offset) - 1
        return row, offset - self.rows[row]

    def left_open(self, what: str, remedy: str) -> _Told:
        """What is to be said of something without an end: its beginning says more than the end of the text."""
        start = self.end if self.start is None else self.start
        line = self.place(start)[0] + 1
        return self.end if self.text[self.end :].strip() else start, f"{what} (opened at line {line})", remedy


def _tab(stop: _Stop) -> _Told | None:
    indentation = stop.before[: len(stop.before) - len(stop.before.lstrip())]
    if "\t" in (stop.here, *indentation):
        return stop.end, "a tab where YAML wants spaces", "indent with spaces"
    return None


def _grammar(stop: _Stop) -> _Told | None:
    """Tokens that do not fit each other."""
    if stop.opener == "[":
        return stop.left_open("a list in brackets is not closed here", "add ']' or a ','")
    if stop.opener == "{":
        return stop.left_open("a map in braces is not closed here", "add '}' or a ','")
    if not stop.text[stop.end :].strip():
        return stop.end, "the text ends before the value", "write the value, and close what is open"
    if stop.here in ("]", "}"):
        return stop.end, f"'{stop.here}' closes nothing", "delete it, or put the text in quotes"
    if stop.start is None and stop.here != "%":
        return stop.end, "text after the end of the document", "one file holds one spec"
    if stop.start not in (None, stop.end) and stop.here != "!":
        return stop.end, *_MISFIT
    return None


def _token(stop: _Stop) -> _Told | None:
    """Characters that make no token."""
    start = stop.end if stop.start is None else stop.start
    if stop.opener in ("'", '"'):
        whole = _QUOTED.match(stop.text, start)
        if whole is None or stop.text[stop.end : stop.end + 3] in ("---", "..."):
            return stop.left_open("a text in quotes does not end", "add the closing quote")
        if whole.end() > stop.end:
            return stop.end, "no escape of YAML", r"write '\\' for a backslash, or put the text in single quotes"
    if stop.here in ("@", "`", "%"):
        return stop.end, f"no text begins with '{stop.here}'", "put it in quotes"
    if stop.here == ":" and ":" not in stop.before:
        return stop.end, *_MISFIT
    if stop.here == ":":
        return stop.end, "a second ':' on one line", "put the value on a line of its own, or the text in quotes"
    if start < stop.end and stop.opener not in tuple("|>&*!%"):
        return start, "a key without ':'", "write 'key: value'"
    return None
