"""Uses of blocks, and of composites, become the layers that they stand for, as if those had been written out.

A layer of a block is called ``USE-LAYER``, or as its name says where that has an attribute in it: ``conv$(stage)a``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from netspec.contract.layer import Layer
from netspec.registry import composite_types, layer_types
from netspec.spec.block_scope import Budget, Scope, marked
from netspec.spec.blocks import REQUIRED, Block, block_of, text_of
from netspec.spec.fields import Fields
from netspec.spec.nodes import MAX_DEPTH, Entry, List, Map, Node, Scalar, plain
from netspec.spec.problems import Report, Use
from netspec.spec.syntax import TOO_DEEP
from netspec.spec.wording import meant, show

PASSED_ON = ("device", "split", "rate", "decay")
"""Keys of a use that each of the block's layers has that does not write its own."""
USE_KEYS = ("name", "type", "inputs", "share", "within", *PASSED_ON)


@dataclass(slots=True)
class Expansion:
    """Replaces uses of ``blocks`` by layers.

    ``outputs`` has the layer that stands for a use, ``scopes`` what names meant in it.
    """

    blocks: Mapping[str, Block]
    report: Report
    outputs: dict[str, str] = field(default_factory=dict)
    scopes: dict[str, Scope] = field(default_factory=dict)
    active: list[str] = field(default_factory=list)
    budget: Budget = field(default_factory=Budget)

    def is_use(self, node: Node) -> bool:
        """Whether a layer is a use of a block or of a composite."""
        kind = text_of(node, "type") if isinstance(node, Map) else ""
        return kind in self.blocks or kind in composite_types()

    def block_of(self, node: Map, fields: Fields) -> tuple[Block, dict[str, Entry]] | None:
        """The block of a use with the values of its attributes; None, with a problem, where one is missing or wrong."""
        kind = text_of(node, "type")
        if (block := self.blocks.get(kind)) is not None:
            values = self.values(node, block, fields)
            return None if values is None else (block, values)
        cls, before = composite_types()[kind], len(self.report.problems)
        place = node.entries["type"].value.mark
        fields.refuse_unknown(node, [*cls.attrs, *USE_KEYS], hint=_known(kind, [*cls.attrs, *USE_KEYS]))
        attrs = fields.read(node, cls.attrs, place=place)
        made = block_of(cls(attrs), place, fields) if len(self.report.problems) == before else None
        return None if made is None else (made, {})

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
            name = text_of(node, "name")
            made = self.use(node, above) if self.is_use(node) else [node]
            if made:
                above = self.outputs.get(name, name)
                implied = text_of(made[-1], "name") == above
            yield list(made)

    def use(self, node: Map, above: str) -> list[Map]:
        """The layers of one use; none, with a problem, where it lacks something."""
        name, mark = text_of(node, "name"), (node.get("name") or node).mark
        fields, kind = Fields(self.report, name), text_of(node, "type")
        if kind in self.active or len(self.active) > MAX_DEPTH:
            told = f"the block '{kind}' contains itself" if kind in self.active else TOO_DEEP[0]
            fields.note(node.entries["type"].value.mark, told)
            return []
        found = self.block_of(node, fields)
        given = _given(node, found[0], above, fields) if found is not None else None
        if found is None or given is None:
            return []
        block, values = found
        scope = Scope(self.budget, block, name, values, mark, given, "inputs" in node.entries)
        layers = [scope.named(layer, fields) for layer in block.layers]
        if len(scope.full) < len(layers):
            return []
        self.scopes[name] = scope
        self.outputs[name] = scope.full[scope.text(block.output)]
        self.active.append(block.name)
        first = next(iter(given.values()), None)
        parts = list(self.sequence(self.inner(node, layers, scope, fields), plain_name(first)))
        self.active.pop()
        self.outputs[name] = self.outputs.get(self.outputs[name], self.outputs[name])  # which may be a use as well
        return [layer for part in parts for layer in part if isinstance(layer, Map)]

    def inner(self, node: Map, layers: Sequence[Map], scope: Scope, fields: Fields) -> list[Map]:
        """The block's layers with what they read, and with what the use says for all of them."""
        common = {key: entry for key, entry in node.entries.items() if key in PASSED_ON}
        owners = self.shared(node, scope, fields)
        found: list[Map] = []
        for index, layer in enumerate(layers):
            layer = scope.connected(layer, first=index == 0)
            own = text_of(layer, "share") or text_of(layer, "name")
            owner = {"share": owners[own]} if own in owners and _may_share(text_of(layer, "type")) else {}
            passed = {key: entry for key, entry in common.items() if key not in layer.entries}
            found.append(layer.replace({**passed, **owner, "within": _framed(node, scope, layer)}))
        return found

    def values(self, node: Map, block: Block, fields: Fields) -> dict[str, Entry] | None:
        """The attributes of a use; None where a required one is missing."""
        known = [*block.attributes, *USE_KEYS]
        fields.refuse_unknown(node, known, hint=_known(block.name, known))
        mark, missing = node.entries["type"].value.mark, False
        values: dict[str, Entry] = {}
        for key, default in block.attributes.items():
            if key in node.entries:
                values[key] = node.entries[key]
            elif plain(default.value) == REQUIRED:
                fields.note(mark, f"'{key}' is missing", f"the block '{block.name}' requires it")
                missing = True
            else:
                values[key] = Entry(default.mark, marked(default.value, (node.get("name") or node).mark))
        return None if missing else values

    def shared(self, node: Map, scope: Scope, fields: Fields) -> dict[str, Entry]:
        """The layers whose parameters those of a use share, by the full names of its own."""
        entry = node.entries.get("share")
        if entry is None or plain(entry.value) is None:
            return {}
        other, mark = self.scopes.get(str(plain(entry.value))), entry.value.mark
        if other is None or other.block.name != scope.block.name or len(other.full) != len(scope.full):
            message = f"'share' names no use of '{scope.block.name}' above: {show(plain(entry.value))}"
            fields.note(mark, message, meant(str(plain(entry.value)), self.uses_of(scope.block, scope.use)))
            return {}
        pairs = zip(scope.full.values(), other.full.values(), strict=True)
        return {own: Entry(entry.mark, Scalar(full, full, mark)) for own, full in pairs}

    def uses_of(self, block: Block, but: str) -> list[str]:
        """The uses of a block so far, except for one."""
        return [name for name, scope in self.scopes.items() if scope.block.name == block.name and name != but]


def _framed(node: Map, scope: Scope, layer: Map) -> Entry:
    """The frames round a layer of a use: those round the use, the use's own, and what the layer writes."""
    around, own = (_listed(each.get("within")) for each in (node, layer))
    written = layer.entries.get("within") or node.entries.get("within") or node.entries["type"]
    name = Scalar(scope.use, scope.use, scope.mark)
    return Entry(written.mark, List((*around, name, *own), written.mark))


def _listed(node: Node | None) -> tuple[Node, ...]:
    return node.items if isinstance(node, List) else () if node is None else (node,)


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


def _known(kind: str, keys: Sequence[str]) -> str:
    return f"a use of '{kind}' has {', '.join(keys)}"


def _may_share(kind: str) -> bool:
    """Whether layers of a type may have parameters or a state, as uses of other blocks may."""
    cls = layer_types().get(kind)
    return any(getattr(cls, what, None) is not getattr(Layer, what) for what in ("params", "state"))


def plain_name(node: Node | None) -> str:
    """The name of a connection, without an output."""
    source = node.get("from") if isinstance(node, Map) else node
    return source.text if isinstance(source, Scalar) else ""


def check_uses(written: Sequence[Node], layers: Sequence[Node], inputs: Sequence[str], expansion: Expansion) -> None:
    """Tell of names of uses that something else has as well; raise where a use could not be replaced."""
    report = expansion.report
    uses = [node for node in written if isinstance(node, Map) and expansion.is_use(node)]
    taken = {text_of(node, "name"): node.mark for node in layers if isinstance(node, Map)}
    seen = set(inputs)
    for node in uses:
        name, mark = text_of(node, "name"), (node.get("name") or node).mark
        if name in seen or (name in taken and expansion.outputs.get(name) != name):
            own = name in expansion.scopes and name in expansion.scopes[name].full.values()
            remedy = "only the block's output may be called as its use" if own else "names of uses are unique, too"
            report.note(mark, f"the name '{name}' is taken", remedy, name)
        seen.add(name)
        if (scope := expansion.scopes.get(name)) is not None:
            kind = scope.block.name
            attributes = composite_types()[kind].attrs if kind not in expansion.blocks else scope.block.attributes
            report.uses[name] = Use(tuple(attributes), tuple(scope.full.values()))
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
