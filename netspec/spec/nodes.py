"""What a YAML text holds: scalars, lists and maps that remember where they were written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from netspec.errors import Mark, Problem, SpecError
from netspec.spec.scalars import MAX_INT, Value

MAX_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word, number, truth value or null; ``text`` is how it was written."""

    value: Value
    text: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class List:
    """A sequence of nodes."""

    items: tuple[Node, ...]
    mark: Mark


@dataclass(frozen=True, slots=True)
class Entry:
    """One ``key: value`` of a map; ``mark`` is the key's place.

    ``given`` is the key's place in the use of a block, where the value comes from there.
    """

    mark: Mark
    value: Node
    given: Mark | None = None

    @property
    def origin(self) -> Mark:
        """Where the value was decided."""
        return self.given or self.mark


@dataclass(frozen=True, slots=True)
class Map:
    """A mapping from words to nodes, in the order written."""

    entries: Mapping[str, Entry]
    mark: Mark

    def get(self, key: str) -> Node | None:
        """The value at a key, or None."""
        entry = self.entries.get(key)
        return entry.value if entry else None

    def replace(self, changes: Mapping[str, Entry]) -> Map:
        """A copy with entries added or replaced."""
        return Map({**self.entries, **changes}, self.mark)

    def without(self, *keys: str) -> Map:
        """A copy without the keys."""
        return Map({key: entry for key, entry in self.entries.items() if key not in keys}, self.mark)


Node = Scalar | List | Map


def plain(node: Node) -> Any:
    """The node as plain data: dicts, lists and scalars."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    return {key: plain(entry.value) for key, entry in node.entries.items()}


def scalars(node: Node) -> Iterator[Scalar]:
    """All scalars of a node, in the order written."""
    if isinstance(node, Scalar):
        yield node
        return
    for part in node.items if isinstance(node, List) else [entry.value for entry in node.entries.values()]:
        yield from scalars(part)


def from_plain(data: Any, mark: Mark, depth: int = 0) -> Node:
    """Plain data, such as a JSON file holds, as nodes that all point at one place.

    Raises SpecError where it is nested too deep.
    """
    if depth > MAX_DEPTH:
        raise SpecError([Problem(mark, f"nested deeper than {MAX_DEPTH} levels")])
    if isinstance(data, Mapping):
        return Map({str(key): Entry(mark, from_plain(value, mark, depth + 1)) for key, value in data.items()}, mark)
    if isinstance(data, list | tuple):
        return List(tuple(from_plain(item, mark, depth + 1) for item in data), mark)
    fits = data is None or isinstance(data, str | float) or (isinstance(data, int) and abs(data) <= MAX_INT)
    return Scalar(data if fits else str(data), str(data), mark)
