"""What names and attributes mean in one use of a block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from netspec.errors import Mark, Problem, SpecError
from netspec.spec.blocks import ATTRIBUTE, NAME, Block, text_of
from netspec.spec.fields import Fields
from netspec.spec.nodes import Entry, List, Map, Node, Scalar, plain, scalars
from netspec.spec.reader import MAX_NODES
from netspec.spec.wording import show

_PLAIN = 64
"""Characters of a text that count as one value."""


@dataclass(slots=True)
class Budget:
    """How many values blocks have become: blocks in blocks multiply."""

    size: int = 0

    def take(self, node: Scalar) -> None:
        """Count one more. Raises SpecError where they become too many."""
        self.size += 1 + len(node.text) // _PLAIN
        if self.size > MAX_NODES:
            raise SpecError([Problem(node.mark, f"more than {MAX_NODES} values in blocks", "they repeat too much")])


@dataclass(slots=True)
class Scope:
    """What the names of a block mean in one use of it.

    ``given`` has what stands for its inputs, ``said`` whether the use says it, ``full`` the names of its layers.
    """

    budget: Budget
    block: Block
    use: str
    values: dict[str, Entry]
    mark: Mark
    given: Mapping[str, Node]
    said: bool
    full: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values[NAME] = Entry(self.mark, Scalar(self.use, self.use, self.mark))

    def named(self, layer: Map, fields: Fields) -> Map:
        """A layer of the block with its full name and the values of this use; what it reads is not yet found."""
        made, written = self.filled(layer), layer.entries["name"].value
        assert isinstance(made, Map)
        own = self.text(text_of(layer, "name"))
        if own in self.full:
            fields.note(_at(written.mark, self.mark), f"two layers of '{self.block.name}' are called '{own}'")
        full = self.full[own] = own if "$" in text_of(layer, "name") else f"{self.use}-{own}"
        name = Entry(made.entries["name"].mark, Scalar(full, full, _at(written.mark, self.mark)))
        return made.replace({"name": name})

    def text(self, written: str) -> str:
        """A text with the values of attributes in their places."""
        return ATTRIBUTE.sub(lambda m: "$" if m[0] == "$$" else self.word(m[1] or m[2]), written)

    def word(self, name: str) -> str:
        """The value of an attribute within a text."""
        value = self.values[name].value
        return value.text if isinstance(value, Scalar) else show(plain(value))

    def filled(self, node: Node) -> Node:
        """A node of the block with the values of attributes in their places."""
        if isinstance(node, List):
            return List(tuple(map(self.filled, node.items)), _at(node.mark, self.mark))
        if isinstance(node, Map):
            entries = {key: self.entry(entry) for key, entry in node.entries.items()}
            return Map(entries, _at(node.mark, self.mark))
        found = self.value(node)
        if found is not None:
            for scalar in scalars(found.value):
                self.budget.take(scalar)
            return found.value
        text = self.text(node.value) if isinstance(node.value, str) else node.value
        made = Scalar(text, text if isinstance(text, str) else node.text, _at(node.mark, self.mark))
        self.budget.take(made)
        return made

    def entry(self, entry: Entry) -> Entry:
        """One ``key: value`` of the block."""
        found = self.value(entry.value) if isinstance(entry.value, Scalar) else None
        origin = found.origin if found else _at(entry.given, self.mark) if entry.given else None
        return Entry(_at(entry.mark, self.mark), self.filled(entry.value), origin)

    def value(self, node: Scalar) -> Entry | None:
        """The attribute that a scalar is all of."""
        match = ATTRIBUTE.fullmatch(node.value) if isinstance(node.value, str) else None
        return self.values[match[1] or match[2]] if match and match[0] != "$$" else None

    def connected(self, layer: Map, first: bool) -> Map:
        """The layer with names of the block's layers and inputs replaced in what it reads and shares."""
        changes: dict[str, Entry] = {}
        if (entry := layer.entries.get("inputs")) is not None:
            changes["inputs"] = Entry(entry.mark, self.connection(entry.value), entry.given)
        elif first and self.said:
            above = self.given[self.block.inputs[0]]
            changes["inputs"] = Entry(above.mark, above)
        if (share := layer.entries.get("share")) is not None:
            changes["share"] = Entry(share.mark, self.renamed(share.value), share.given)
        return layer.replace(changes)

    def connection(self, node: Node) -> Node:
        """An entry of ``inputs``, or all of them."""
        if isinstance(node, List):
            return List(tuple(self.connection(item) for item in node.items), node.mark)
        if isinstance(node, Scalar):
            return self.outer(node) or self.renamed(node)
        source = node.get("from")
        if source is None:
            return node
        outer = self.outer(source)
        if isinstance(outer, Map):
            return outer.replace({key: entry for key, entry in node.entries.items() if key != "from"})
        return node.replace({"from": Entry(node.entries["from"].mark, outer or self.renamed(source))})

    def outer(self, node: Node) -> Node | None:
        """What stands for the input of the block that a name is."""
        return self.given.get(node.text) if self.is_own(node) and isinstance(node, Scalar) else None

    def renamed(self, node: Node) -> Node:
        """A name, or ``name.output``, of one of the block's layers as it is called in this use."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or not self.is_own(node):
            return node
        name, dot, output = node.value.partition(".")
        text = self.full.get(name, name) + dot + output
        return Scalar(text, text, node.mark)

    def is_own(self, node: Node) -> bool:
        """Whether the block says it; a name that its use gives is none of the block's."""
        return node.mark.use is self.mark


def _at(mark: Mark, use: Mark) -> Mark:
    """A place in a block, in one use of it."""
    return Mark(mark.file, mark.line, mark.column, mark.text, mark.width, use)


def marked(node: Node, use: Mark) -> Node:
    """A node of a block with the place of the use."""
    if isinstance(node, Scalar):
        return replace(node, mark=_at(node.mark, use))
    if isinstance(node, List):
        return List(tuple(marked(item, use) for item in node.items), _at(node.mark, use))
    entries = {key: Entry(_at(one.mark, use), marked(one.value, use)) for key, one in node.entries.items()}
    return Map(entries, _at(node.mark, use))
