"""Laying specs over one another: ``extends``, ``--set``, and the blocks that their layers use.

Later wins; maps merge key by key, lists are replaced, layers merge by name. Where ``type`` changes, what belonged to
the old type goes. Blocks are merged first and expanded last, so that a later spec changes a block, one use of it by
its name, or one of a use's layers by that layer's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from netspec.contract.attrs import LAYER_KEYS
from netspec.errors import Mark
from netspec.spec.blocks import Block, read_blocks
from netspec.spec.expansion import Expansion, check_uses, named_outputs
from netspec.spec.nodes import Entry, List, Map, Node, Scalar, plain
from netspec.spec.overlay import changes_type, overlay
from netspec.spec.problems import Report
from netspec.spec.wording import did_you_mean, show


def merge(levels: Sequence[Map], report: Report) -> Map:
    """Specs laid over one another, the first at the bottom, with layers in place of the uses of blocks.

    Raises SpecError where a block, or a use of one, is wrong: what else is wrong cannot be told then.
    """
    root = levels[0]
    for over in levels[1:]:
        entries = {key: Entry(entry.mark, _section(key, root, entry.value, report))
                   for key, entry in over.entries.items()}  # fmt: skip
        root = Map({**root.entries, **entries}, over.mark)
    blocks = read_blocks(root, report)
    listed = [entry for level in levels if (entry := level.entries.get("layers")) is not None]
    last = next((i for i, entry in reversed([*enumerate(listed)]) if not isinstance(entry.value, List)), -1)
    if not listed or last == len(listed) - 1:
        return root
    layers = _Layers(listed[last + 1].value, report, root.get("defaults"), blocks)
    for entry in listed[last + 2 :]:
        layers.lay(entry.value)
    return root.replace({"layers": Entry(listed[-1].mark, layers.expanded(root, listed[-1].value.mark))})


def _section(key: str, root: Map, over: Node, report: Report) -> Node:
    """One section of a spec laid over that of another; what becomes of ``layers`` is decided later."""
    base = root.get(key)
    if key != "blocks" or not isinstance(base, Map) or not isinstance(over, Map):
        return overlay(base, over)
    entries = {name: Entry(entry.mark, _block(base.get(name), entry.value, report, root.get("defaults")))
               for name, entry in over.entries.items()}  # fmt: skip
    return Map({**base.entries, **entries}, over.mark)


def _block(base: Node | None, over: Node, report: Report, defaults: Node | None) -> Node:
    """One block laid over another; its layers merge by name."""
    laid = overlay(base, over)
    below, above = (node.get("layers") if isinstance(node, Map) else None for node in (base, over))
    if not isinstance(laid, Map) or not isinstance(below, List) or not isinstance(above, List):
        return laid
    layers = _Layers(below, report, defaults)
    layers.lay(above)
    return laid.replace({"layers": Entry(laid.entries["layers"].mark, List(tuple(layers.nodes), above.mark))})


def layer_name(node: Node) -> str | None:
    """The name a layer carries; None where it has none."""
    name = node.get("name") if isinstance(node, Map) else None
    return name.value if isinstance(name, Scalar) and isinstance(name.value, str) else None


class _Layers:
    """The list of layers while changes are laid over it.

    A change of a layer that a use of a block will become waits in ``inner`` until it has; a list for each spec.
    """

    def __init__(
        self, base: Node, report: Report, defaults: Node | None, blocks: Mapping[str, Block] | None = None
    ) -> None:
        self.nodes = list(base.items) if isinstance(base, List) else []
        self.defaults = defaults
        self.report = report
        self.blocks = blocks
        self.placed: dict[str, str] = {}
        self.changed: dict[str, Mark] = {}
        self.inner: dict[str, list[list[Map]]] = {}

    def lay(self, over: Node) -> None:
        """Apply each change of a spec in turn; what is no layer is kept, and reported later."""
        self.placed, self.changed = {}, {}
        for waiting in self.inner.values():
            waiting.append([])
        for node in over.items if isinstance(over, List) else ():
            name = layer_name(node)
            if isinstance(node, Map) and name is not None:
                self.refuse_second(node, name)
                self.change(node, name)
            else:
                self.nodes.append(node)

    def expanded(self, root: Map, mark: Mark) -> List:
        """The layers, with those of blocks in the places of their uses."""
        inputs = root.get("inputs")
        names = list(inputs.entries) if isinstance(inputs, Map) else []
        expansion, found = Expansion(self.blocks or {}, self.report), list[Node]()
        parts = expansion.sequence(self.nodes, names[0] if names else "")
        for node, made in zip(list(self.nodes), parts, strict=True):
            layers = _Layers(List(tuple(made), node.mark), self.report, self.defaults)
            for changes in self.inner.get(layer_name(node) or "", ()):
                layers.lay(List(tuple(changes), node.mark))
            found += layers.nodes
        check_uses(self.nodes, found, names, expansion)
        return List(tuple(named_outputs(node, expansion.outputs) for node in found), mark)

    def using(self, name: str) -> str | None:
        """The use of a block that will become a layer of that name, among others."""
        for node in self.nodes if self.blocks is not None else ():
            use = layer_name(node)
            if isinstance(node, Map) and use is not None and name in self.becoming(node, use):
                return use
        return None

    def becoming(self, node: Map, use: str) -> set[str]:
        """The names of the layers that a use will become, with the changes that wait."""
        expansion = Expansion(self.blocks or {}, Report())
        if not expansion.is_use(node):
            return set()
        names = {layer_name(layer) for layer in expansion.use(node, "")}
        for change in (change for changes in self.inner.get(use, ()) for change in changes):
            gone = (value := change.get("remove")) is not None and plain(value) is True
            names = names - {layer_name(change)} if gone else names | {layer_name(change)}
        return {name for name in names if name}

    def wait(self, use: str, node: Map) -> None:
        """Let a change wait for the layers of a use."""
        self.inner.setdefault(use, [[]])[-1].append(node)

    def refuse_second(self, node: Map, name: str) -> None:
        """One spec changes a layer in one place; only a removed one may be written anew."""
        if name in self.changed and name not in self.report.removed:
            remedy = f"first at line {self.changed[name].line}; names are unique"
            self.report.note(node.entries["name"].value.mark, f"the name '{name}' is taken", remedy, name)
        self.changed.setdefault(name, node.mark)

    def find(self, name: str) -> int | None:
        """The index of the layer of that name."""
        return next((i for i, node in enumerate(self.nodes) if layer_name(node) == name), None)

    def change(self, node: Map, name: str) -> None:
        """Change, remove, move or add one layer."""
        index = self.find(name)
        if index is None and (use := self.using(name)) is not None:
            self.wait(use, node)
            return
        removed = node.entries.get("remove")
        if removed and self.is_true(removed, name):
            self.remove(node, name, index, removed.mark)
            return
        body = node.without("remove", "after")
        if index is None:
            self.add(node, body, name)
            return
        self.nodes[index] = _change(self.nodes[index], body, self.defaults)
        if "after" in node.entries:
            self.place(node, name, self.nodes.pop(index), index)

    def is_true(self, entry: Entry, name: str) -> bool:
        """The value of ``remove``."""
        value = entry.value.value if isinstance(entry.value, Scalar) else None
        if not isinstance(value, bool):
            written = show(plain(entry.value))
            self.report.note(entry.value.mark, f"'remove' must be true or false, got {written}", owner=name)
        return value is True

    def remove(self, node: Map, name: str, index: int | None, mark: Mark) -> None:
        """Take a layer out."""
        if index is None:
            self.report.note(mark, f"there is no layer '{name}' to remove", self.near(name))
            return
        if extra := [key for key in node.entries if key not in ("name", "remove")]:
            message = f"'{extra[0]}' beside 'remove: true'"
            self.report.note(node.entries[extra[0]].mark, message, "a layer is either changed or removed", name)
        gone = self.nodes.pop(index)
        self.inner.pop(name, None)
        self.report.removed |= dict.fromkeys([name, *self.becoming(gone, name)] if isinstance(gone, Map) else (), mark)

    def add(self, node: Map, body: Map, name: str) -> None:
        """Add a new layer at the end, or after another."""
        if "type" not in body.entries:
            mark = node.entries["name"].value.mark
            self.report.note(
                mark, f"there is no layer '{name}' to change", self.near(name) or "a new layer needs 'type'"
            )
            return
        self.report.removed.pop(name, None)
        self.place(node, name, body, len(self.nodes))

    def place(self, node: Map, name: str, body: Node, default: int) -> None:
        """Insert behind the layer that ``after`` names, in the order in which such layers were written."""
        after = node.get("after")
        anchor = after.value if isinstance(after, Scalar) else None
        if after is None:
            index: int | None = default - 1
        elif isinstance(anchor, str) and isinstance(body, Map) and (use := self.using(anchor)) is not None:
            self.wait(use, body.replace({"after": node.entries["after"]}))
            return
        elif isinstance(anchor, str):
            index = self.find(self.placed.get(anchor, anchor))
            self.placed[anchor] = name
        else:
            index = None
        if after is not None and index is None:
            self.report.note(after.mark, f"'after' names no layer: {show(anchor)}", self.near(str(anchor)), name)
            index = default - 1
        self.nodes.insert((index if index is not None else default - 1) + 1, body)

    def near(self, name: str) -> str | None:
        """The existing layer that was probably meant."""
        return did_you_mean(name, [known for node in self.nodes if (known := layer_name(node))])


def _change(base: Node, over: Map, defaults: Node | None) -> Map:
    """One layer laid over another; a changed type keeps the common keys only, and ``inputs`` are replaced whole."""
    if not isinstance(base, Map):
        return over
    if changes_type(base, over):
        base = Map({key: entry for key, entry in base.entries.items() if key in LAYER_KEYS}, base.mark)
    kind = plain(base.get("type") or Scalar(None, "", base.mark))
    shared = defaults.get(str(kind)) if isinstance(defaults, Map) else None
    merged = {
        key: entry if key in ("inputs", "type") else Entry(entry.mark, _laid(base, over, key, shared), entry.given)
        for key, entry in over.entries.items()
    }
    return Map({**base.entries, **merged}, base.mark)


def _laid(base: Map, over: Map, key: str, shared: Node | None) -> Node:
    """A value laid over the base's: replaced whole where it names another type than that has from ``defaults``."""
    below, above = base.get(key), over.entries[key].value
    default = shared.get(key) if isinstance(shared, Map) else None
    has_own = isinstance(below, Map) and "type" in below.entries
    if not has_own and isinstance(default, Map) and isinstance(above, Map) and changes_type(default, above):
        return above
    return overlay(below, above)
