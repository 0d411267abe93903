"""What a layer reads: ``pool1``, ``loss.probs``, ``{from: pool2, connect: all}``, a list, or the layer above."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from netspec.contract.attrs import choice
from netspec.errors import Mark
from netspec.spec.fields import Attrs, Fields
from netspec.spec.nodes import List, Map, Node, Scalar, plain
from netspec.spec.problems import Report
from netspec.spec.types import Connection, InputSpec, LayerSpec
from netspec.spec.wording import did_you_mean, show

CONNECT: Attrs = {"connect": choice("same", "all", default="same")}


@dataclass(frozen=True, slots=True)
class Known:
    """What a layer may read: the layers above it and the network's inputs; ``all_names`` has those below as well."""

    above: Sequence[LayerSpec]
    by_name: Mapping[str, LayerSpec]
    inputs: Mapping[str, InputSpec]
    all_names: Mapping[str, Mark]
    report: Report

    def names(self) -> list[str]:
        """Everything that may be read."""
        return [*self.inputs, *self.by_name]


def read_connections(node: Map, owner: str, known: Known) -> tuple[Connection, ...]:
    """A layer's connections; without ``inputs``, the layer above or the network's first input."""
    fields = Fields(known.report, owner)
    written = node.get("inputs")
    if written is None:
        return _layer_above(node, known)
    items = written.items if isinstance(written, List) else (written,)
    if not items:
        fields.note(written.mark, "'inputs' is an empty list", "leave it out to read the layer above")
    return tuple(connection for item in items if (connection := _connection(item, fields, known)))


def _layer_above(node: Map, known: Known) -> tuple[Connection, ...]:
    name = known.above[-1].name if known.above else next(iter(known.inputs), None)
    return () if name is None else (Connection(name, None, "same", node.mark),)


def _connection(node: Node, fields: Fields, known: Known) -> Connection | None:
    if isinstance(node, Scalar):
        return _reference(node, "same", fields, known)
    if not isinstance(node, Map):
        fields.note(node.mark, "an input must be a name or {from: name, connect: all}", "lists hold no lists")
        return None
    fields.refuse_unknown(node, ["from", "connect"], "inputs")
    connect = fields.read(Map({k: e for k, e in node.entries.items() if k == "connect"}, node.mark), CONNECT)
    source = node.get("from")
    if source is None:
        fields.note(node.mark, "an input in braces needs 'from'", "as in {from: pool2, connect: all}")
        return None
    return _reference(source, connect.get("connect", "same"), fields, known)


def _reference(node: Node, connect: str, fields: Fields, known: Known) -> Connection | None:
    text = plain(node)
    if isinstance(node, Scalar) and (node.text in known.inputs or node.text in known.by_name):
        return Connection(node.text, None, "all" if connect == "all" else "same", node.mark)
    if not isinstance(text, str):
        fields.note(node.mark, f"an input must be a name, got {show(text)}")
        return None
    source, dot, output = text.partition(".")
    if dot and (not output or "." in output):
        fields.note(node.mark, f"{show(text)} is not a name or name.output")
    elif source not in known.inputs and source not in known.by_name:
        _tell_unknown(source, node.mark, fields, known)
    elif dot and source in known.inputs:
        fields.note(node.mark, f"the network input '{source}' has no outputs to choose from", f"write {source}")
    else:
        return Connection(source, output or None, "all" if connect == "all" else "same", node.mark)
    return None


def _tell_unknown(source: str, mark: Mark, fields: Fields, known: Known) -> None:
    if known.report.orphan(fields.owner, source):
        return
    if source == fields.owner:
        fields.note(mark, "reads itself", "leave 'inputs' out to read the layer above")
    elif source in known.all_names:
        where = known.all_names[source].line
        fields.note(mark, f"reads '{source}', which comes later (line {where})", f"move '{source}' above it")
    else:
        if not known.inputs:
            return  # the network's inputs cannot be read, and that has been told
        near = did_you_mean(source, _within_block(mark, fields.owner, known)) or did_you_mean(source, known.names())
        fields.note(mark, f"reads '{source}', which does not exist", near)


def _within_block(mark: Mark, owner: str, known: Known) -> list[str]:
    """The names by which a block's layers know those beside them; none outside of blocks."""
    use = f"{owner.rpartition('-')[0]}-" if mark.use else ""
    return [name.removeprefix(use) for name in known.by_name if use and name.startswith(use)]
