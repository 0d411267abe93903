"""From YAML text to nodes; built from parser events, so that no depth can overflow.

Refused with the place: duplicate keys, tags, several documents, aliases that grow beyond bounds. Merge keys (``<<``)
are read as PyYAML reads them: they are no part of YAML 1.2, but widely known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from netspec.errors import Mark, Problem
from netspec.spec.nodes import MAX_DEPTH, Entry, List, Map, Node, Scalar
from netspec.spec.scalars import resolve
from netspec.spec.syntax import LINE_BREAK, TOO_DEEP, events, explain

MAX_NODES = 100_000

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")


class _Stop(Exception):
    """The text cannot be read further; the problem is already noted."""


@dataclass(slots=True)
class _Open:
    """A map or list whose end has not come yet."""

    mark: Mark
    anchor: str | None
    is_map: bool
    size: int = 1
    items: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: list[Map] = field(default_factory=list)
    key: Scalar | None = None


def parse(
    text: str, file: str, problems: list[Problem], *, row: int = 0, indent: int = 0, line: str = ""
) -> Node | None:
    """Read one YAML document; None when it is empty or unreadable, with the reasons added to ``problems``.

    ``row``, ``indent`` and ``line`` place a text that is part of another line, such as the value of a ``--set``.
    """
    reader = _Reader(text, file, problems, row, indent, line)
    try:
        return reader.read()
    except _Stop:
        return None
    except yaml.MarkedYAMLError as error:
        reader.tell_syntax(error)
    except yaml.YAMLError as error:
        problems.append(Problem(Mark(file, 1 + row, 1 + indent), f"not readable as YAML: {error}".splitlines()[0]))
    return None


class _Reader:
    """Turns the parser's events into nodes, with an explicit stack."""

    def __init__(self, text: str, file: str, problems: list[Problem], row: int, indent: int, line: str) -> None:
        self.text, self.file, self.problems = text, file, problems
        self.row, self.indent = row, indent
        self.lines = [line] if line else LINE_BREAK.split(text)
        self.stack: list[_Open] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.root: Node | None = None

    def mark(self, row: int, column: int, width: int = 1) -> Mark:
        """The place of a parser position, both counted from 0."""
        line = self.lines[row] if row < len(self.lines) else ""
        shift = self.indent if row == 0 else 0
        return Mark(self.file, self.row + row + 1, shift + column + 1, line, max(width, 1))

    def of(self, event: Any) -> Mark:
        """The place of an event; its width is what of it lies on its first line."""
        start, end = event.start_mark, event.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return self.mark(start.line, start.column, width)

    def note(self, mark: Mark, message: str, remedy: str | None = None) -> None:
        """Add a problem."""
        self.problems.append(Problem(mark, message, remedy))

    def fail(self, mark: Mark, message: str, remedy: str | None = None) -> _Stop:
        """Add a problem after which nothing can be read."""
        self.note(mark, message, remedy)
        return _Stop()

    def read(self) -> Node | None:
        """The document's root node."""
        self.refuse_control_characters()
        documents = 0
        for event in events(self.text):
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.fail(self.of(event), "a second YAML document begins here", "one file holds one spec")
            else:
                self.take(event)
        return self.root

    def refuse_control_characters(self) -> None:
        """YAML allows no control characters but tab and line ends."""
        if match := _CONTROL.search(self.text):
            before = LINE_BREAK.split(self.text[: match.start()])
            mark = self.mark(len(before) - 1, len(before[-1]))
            raise self.fail(
                mark, f"control character U+{ord(match[0]):04X}", "delete it, or save the file as UTF-8 text"
            )

    def take(self, event: Any) -> None:
        """Handle one event."""
        if isinstance(event, yaml.ScalarEvent):
            self.finish(self.scalar(event), 1, event.anchor)
        elif isinstance(event, yaml.AliasEvent):
            self.alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self.open(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self.close()

    def scalar(self, event: Any) -> Scalar:
        """A scalar event as a node."""
        mark = self.of(event)
        self.refuse_tag(event, mark)
        if event.style:
            return Scalar(event.value, event.value, mark)
        try:
            return Scalar(resolve(event.value), event.value, mark)
        except OverflowError:
            self.note(mark, "whole number too large", "numbers must fit 64 bits")
            return Scalar(2**63 - 1, event.value, mark)  # large too: what asks for a least number is not to blame

    def refuse_tag(self, event: Any, mark: Mark) -> None:
        """A spec runs no code and needs no tags."""
        if event.tag and event.tag != "!":
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            self.note(mark, f"tags such as '{tag}' are not allowed", "remove the tag; put text in quotes")

    def open(self, event: Any) -> None:
        """Start a map or a list."""
        mark = self.mark(event.start_mark.line, event.start_mark.column)
        self.refuse_tag(event, mark)
        if len(self.stack) >= MAX_DEPTH:
            raise self.fail(mark, *TOO_DEEP)
        if event.anchor:
            self.anchors.pop(event.anchor, None)
        self.stack.append(_Open(mark, event.anchor, isinstance(event, yaml.MappingStartEvent)))

    def close(self) -> None:
        """End the innermost map or list."""
        done = self.stack.pop()
        for below in done.merged:
            done.entries = {**below.entries, **done.entries}
        node = Map(done.entries, done.mark) if done.is_map else List(tuple(done.items), done.mark)
        self.finish(node, done.size, done.anchor)

    def alias(self, event: Any) -> None:
        """Replace an alias by what its anchor marks."""
        mark, name = self.of(event), event.anchor
        if any(part.anchor == name for part in self.stack):
            raise self.fail(mark, f"the alias '*{name}' refers to what it stands in", "write the value out")
        if name not in self.anchors:
            raise self.fail(mark, f"the alias '*{name}' has no anchor '&{name}' above it")
        node, size = self.anchors[name]
        self.finish(node, size, None)

    def finish(self, node: Node, size: int, anchor: str | None) -> None:
        """Hand a finished node to the map or list it stands in."""
        if anchor:
            self.anchors[anchor] = (node, size)
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        parent.size += size
        if parent.size > MAX_NODES:
            raise self.fail(node.mark, f"more than {MAX_NODES} values", "shorten the aliases: they repeat too much")
        if not parent.is_map:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self.key(node)
        else:
            self.enter(parent, parent.key, node)
            parent.key = None

    def key(self, node: Node) -> Scalar:
        """Check that a key is a word."""
        if isinstance(node, Scalar):
            return node
        raise self.fail(node.mark, "a key must be a word", "write 'key: value'; a text with brackets needs quotes")

    def enter(self, parent: _Open, key: Scalar, value: Node) -> None:
        """Add ``key: value`` to a map."""
        if key.text == "<<":
            maps = value.items if isinstance(value, List) else (value,)
            parent.merged.extend(one for one in maps if isinstance(one, Map))
            if not all(isinstance(one, Map) for one in maps):
                self.note(value.mark, "'<<' takes a map or a list of maps", "as in <<: *name")
        elif key.text in parent.entries:
            first = parent.entries[key.text].mark
            self.note(key.mark, f"key '{key.text}' is written twice", f"first at line {first.line}; keep one of them")
        else:
            parent.entries[key.text] = Entry(key.mark, value)

    def tell_syntax(self, error: yaml.MarkedYAMLError) -> None:
        """Note a syntax error."""
        fault = explain(error, self.text)
        self.note(self.mark(fault.row, fault.column), fault.message, fault.remedy)
