"""Laying one spec over another: ``extends`` and ``--set``.

Later wins; maps merge key by key, lists are replaced, layers merge by name. Where ``type`` changes, what belonged to
the old type goes.
"""

from __future__ import annotations

from netspec.contract.attrs import LAYER_KEYS
from netspec.errors import Mark
from netspec.spec.nodes import Entry, List, Map, Node, Scalar, plain
from netspec.spec.overlay import changes_type, overlay
from netspec.spec.problems import Report
from netspec.spec.wording import did_you_mean, show


def merge(base: Map, over: Map, report: Report) -> Map:
    """The base spec with another laid over it."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        below = base.get(key)
        if key == "layers" and isinstance(below, List) and isinstance(entry.value, List):
            entries[key] = Entry(entry.mark, _Layers(below, report).lay(entry.value))
        else:
            entries[key] = Entry(entry.mark, overlay(below, entry.value))
    return Map(entries, over.mark)


def layer_name(node: Node) -> str | None:
    """The name a layer carries; None where it has none."""
    name = node.get("name") if isinstance(node, Map) else None
    return name.value if isinstance(name, Scalar) and isinstance(name.value, str) else None


class _Layers:
    """The list of layers while changes are laid over it."""

    def __init__(self, base: List, report: Report) -> None:
        self.nodes = list(base.items)
        self.report = report
        self.placed: dict[str, str] = {}
        self.changed: dict[str, Mark] = {}

    def lay(self, over: List) -> List:
        """Apply each change in turn; what is no layer is kept, and reported later."""
        for node in over.items:
            name = layer_name(node)
            if isinstance(node, Map) and name is not None:
                self.refuse_second(node, name)
                self.change(node, name)
            else:
                self.nodes.append(node)
        return List(tuple(self.nodes), over.mark)

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
        removed = node.entries.get("remove")
        if removed and self.is_true(removed, name):
            self.remove(node, name, index, removed.mark)
            return
        body = node.without("remove", "after")
        if index is None:
            self.add(node, body, name)
            return
        self.nodes[index] = _change(self.nodes[index], body)
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
        del self.nodes[index]
        self.report.removed[name] = mark

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


def _change(base: Node, over: Map) -> Map:
    """One layer laid over another; a changed type keeps the common keys only, and ``inputs`` are replaced whole."""
    if not isinstance(base, Map):
        return over
    if changes_type(base, over):
        base = Map({key: entry for key, entry in base.entries.items() if key in LAYER_KEYS}, base.mark)
    merged = {
        key: entry if key in ("inputs", "type") else Entry(entry.mark, overlay(base.get(key), entry.value))
        for key, entry in over.entries.items()
    }
    return Map({**base.entries, **merged}, base.mark)
