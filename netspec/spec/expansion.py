"""Uses of blocks become the layers that they stand for, as if those had been written out.

A layer of a block is called ``USE-LAYER``, or, where its name says an attribute (``conv$(stage)a``, ``$name``), as it says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from netspec.errors import Mark, Problem, SpecError
from netspec.spec.blocks import ATTRIBUTE, NAME, REQUIRED, Block, text_of
from netspec.spec.fields import Fields
from netspec.spec.nodes import MAX_DEPTH, Entry, List, Map, Node, Scalar, plain
from netspec.spec.problems import Report
from netspec.spec.reader import MAX_NODES
from netspec.spec.wording import show

PASSED_ON = ("device", "split", "rate", "decay")
"""Keys of a use that each of the block's layers has that does not write its own."""
USE_KEYS = ("name", "type", "inputs", "share", *PASSED_ON)
_PLAIN = 64
"""Characters of a text that count as one value."""


@dataclass(slots=True)
class Expansion:
    """Replaces uses of ``blocks`` by layers.

    ``outputs`` has the layer that stands for a use, ``names`` the full names of its block's layers by their own.
    """

    blocks: Mapping[str, Block]
    report: Report
    outputs: dict[str, str] = field(default_factory=dict)
    names: dict[str, dict[str, str]] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    size: int = 0

    def block_of(self, node: Node) -> Block | None:
        """The block that a layer uses, if it does."""
        return self.blocks.get(text_of(node, "type")) if isinstance(node, Map) else None

    def sequence(self, nodes: Sequence[Node], above: str) -> Iterator[list[Node]]:
        """The layers that each node stands for; ``above`` is what the first reads unless it says otherwise.

        A layer without ``inputs`` below a use reads its output, wherever that stands.
        """
        implied = True
        for node in nodes:
            if not isinstance(node, Map):
                yield [node]
                continue
            if not implied and "inputs" not in node.entries:
                node = node.replace({"inputs": Entry(node.mark, Scalar(above, above, node.mark))})
            block, name = self.block_of(node), text_of(node, "name")
            made = [node] if block is None else self.use(node, block, above)
            if made:
                above = self.outputs.get(name, name) if block else name
                implied = text_of(made[-1], "name") == above
            yield list(made)

    def use(self, node: Map, block: Block, above: str) -> list[Map]:
        """The layers of one use; none, with a problem, where it lacks something."""
        name, mark = text_of(node, "name"), (node.get("name") or node).mark
        fields = Fields(self.report, name)
        if block.name in self.active or len(self.active) > MAX_DEPTH:
            fields.note(node.entries["type"].value.mark, f"the block '{block.name}' contains itself")
            return []
        values = self.values(node, block, fields)
        given = _given(node, block, above, fields)
        if values is None or given is None:
            return []
        scope = _Scope(self, block, name, values, mark, given, "inputs" in node.entries)
        layers = [scope.named(layer, fields) for layer in block.layers]
        if len(scope.full) < len(layers):
            return []
        self.names[name] = scope.full
        self.outputs[name] = scope.full[scope.text(block.output)]
        if self.outputs[name] != name and name in scope.full.values():
            fields.note(mark, f"a layer of '{block.name}' has the name of its use, but is not the block's output")
        common = {key: entry for key, entry in node.entries.items() if key in PASSED_ON}
        shared = self.shared(node, scope, fields)
        inner: list[Node] = []
        for index, (layer, own) in enumerate(zip(layers, scope.full, strict=True)):
            owners = {"share": shared.get(text_of(layer, "share"), shared[own])} if shared else {}
            layer = scope.connected(layer, first=index == 0)
            inner.append(layer.replace({**{k: e for k, e in common.items() if k not in layer.entries}, **owners}))
        self.active.append(block.name)
        first = next(iter(given.values()), None)
        found = [layer for part in self.sequence(inner, plain_name(first)) for layer in part if isinstance(layer, Map)]
        self.active.pop()
        return found

    def values(self, node: Map, block: Block, fields: Fields) -> dict[str, Entry] | None:
        """The attributes of a use; None where a required one is missing."""
        known = [*block.attributes, *USE_KEYS]
        fields.refuse_unknown(node, known, hint=f"a use of '{block.name}' has {', '.join(known)}")
        mark, missing = node.entries["type"].value.mark, False
        values: dict[str, Entry] = {}
        for key, default in block.attributes.items():
            if key in node.entries:
                values[key] = node.entries[key]
            elif plain(default.value) == REQUIRED:
                fields.note(mark, f"'{key}' is missing", f"the block '{block.name}' requires it")
                missing = True
            else:
                values[key] = Entry(default.mark, _marked(default.value, (node.get("name") or node).mark))
        return None if missing else values

    def shared(self, node: Map, scope: _Scope, fields: Fields) -> dict[str, Entry]:
        """The layers whose parameters those of the block use, by the names of the block's own."""
        written = node.get("share")
        other = self.names.get(str(plain(written))) if written is not None else None
        if written is None or plain(written) is None:
            return {}
        if other is None or set(other) != set(scope.full):
            same = f"use of '{scope.block.name}' above"
            fields.note(written.mark, f"'share' names no {same}: {show(plain(written))}")
            return {}
        mark = node.entries["share"].mark
        return {own: Entry(mark, Scalar(full, full, written.mark)) for own, full in other.items()}

    def count(self, node: Scalar) -> None:
        """Raise SpecError where blocks in blocks become too many."""
        self.size += 1 + len(node.text) // _PLAIN
        if self.size > MAX_NODES:
            raise SpecError([Problem(node.mark, f"more than {MAX_NODES} values in blocks", "they repeat too much")])


@dataclass(slots=True)
class _Scope:
    """What the names of a block mean in one use of it.

    ``given`` has what stands for its inputs, ``said`` whether the use says it, ``full`` the names of its layers.
    """

    expansion: Expansion
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
            return _counted(found.value, self.expansion)
        text = self.text(node.value) if isinstance(node.value, str) else node.value
        made = Scalar(text, text if isinstance(text, str) else node.text, _at(node.mark, self.mark))
        self.expansion.count(made)
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


def _given(node: Map, block: Block, above: str, fields: Fields) -> dict[str, Node] | None:
    """What a use reads, by the names that the block has for its inputs; without ``inputs`` the layer above."""
    written = node.get("inputs")
    if written is None and len(block.inputs) == 1:
        return {block.inputs[0]: Scalar(above, above, (node.get("name") or node).mark)}
    items = written.items if isinstance(written, List) else () if written is None else (written,)
    if len(items) == len(block.inputs):
        return dict(zip(block.inputs, items, strict=True))
    wanted = f"{len(block.inputs)} inputs ({', '.join(block.inputs)})" if len(block.inputs) > 1 else "one input"
    mark = written.mark if written is not None else node.mark
    fields.note(mark, f"the block '{block.name}' takes {wanted}, got {len(items)}")
    return None


def plain_name(node: Node | None) -> str:
    """The name of a connection, without an output."""
    source = node.get("from") if isinstance(node, Map) else node
    return source.text if isinstance(source, Scalar) else ""


def _at(mark: Mark, use: Mark) -> Mark:
    """A place in a block, in one use of it."""
    return replace(mark, use=use)


def _marked(node: Node, use: Mark) -> Node:
    """A node of a block with the place of the use."""
    if isinstance(node, Scalar):
        return replace(node, mark=_at(node.mark, use))
    if isinstance(node, List):
        return List(tuple(_marked(item, use) for item in node.items), _at(node.mark, use))
    entries = {key: Entry(_at(one.mark, use), _marked(one.value, use)) for key, one in node.entries.items()}
    return Map(entries, _at(node.mark, use))


def _counted(node: Node, expansion: Expansion) -> Node:
    if isinstance(node, Scalar):
        expansion.count(node)
    for part in () if isinstance(node, Scalar) else node.items if isinstance(node, List) else _values(node):
        _counted(part, expansion)
    return node


def _values(node: Map) -> list[Node]:
    return [entry.value for entry in node.entries.values()]


def check_uses(written: Sequence[Node], layers: Sequence[Node], inputs: Sequence[str], expansion: Expansion) -> None:
    """Tell of names of uses that something else has as well; raise where a use could not be replaced."""
    report = expansion.report
    uses = [node for node in written if isinstance(node, Map) and expansion.block_of(node)]
    taken = {text_of(node, "name"): node.mark for node in layers if isinstance(node, Map)}
    seen = set(inputs)
    for node in uses:
        name, mark = text_of(node, "name"), (node.get("name") or node).mark
        if name in seen or (name in taken and expansion.outputs.get(name) != name):
            report.note(mark, f"the name '{name}' is taken", "names of layers and of uses of blocks are unique", name)
        seen.add(name)
        report.uses[name] = list(expansion.names.get(name, {}).values())
    if any(text_of(node, "name") not in expansion.outputs for node in uses):
        report.finish()


def named_outputs(node: Node, outputs: Mapping[str, str]) -> Node:
    """A layer that reads what stands for a use where it names the use."""
    if isinstance(node, Map) and (entry := node.entries.get("inputs")) is not None:
        return node.replace({"inputs": Entry(entry.mark, _outputs(entry.value, outputs), entry.given)})
    return node


def _outputs(node: Node, outputs: Mapping[str, str]) -> Node:
    if isinstance(node, List):
        return List(tuple(_outputs(item, outputs) for item in node.items), node.mark)
    if isinstance(node, Map):
        source = node.entries.get("from")
        return node.replace({"from": Entry(source.mark, _outputs(source.value, outputs))}) if source else node
    name, dot, output = node.text.partition(".")
    text = outputs.get(name, name) + dot + output
    return Scalar(text, text, node.mark) if isinstance(node.value, str) and name in outputs else node
