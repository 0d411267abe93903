"""Blocks: named sub-nets with attributes, which stand in ``layers`` as a layer does; see expansion.py.

What is wrong with a block whatever its uses is told here, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netspec.contract.attrs import LAYER_KEYS
from netspec.contract.composite import Composite
from netspec.errors import LayerError, Mark
from netspec.registry import composite_types, layer_types
from netspec.spec.fields import Fields
from netspec.spec.layer_section import check_name
from netspec.spec.nodes import Entry, List, Map, Node, Scalar, from_plain, plain, scalars
from netspec.spec.problems import Report
from netspec.spec.wording import meant, nearest, show

BLOCK_KEYS: Mapping[str, str] = {
    "attributes": "What a use of the block may say, by name, with defaults; 'required' where it must.",
    "inputs": "What the block's layers call its inputs: a name, or a list of names.",
    "layers": "The block's layers, in which $NAME stands for an attribute and $name for the name of the use.",
    "output": "The layer that those read which read the block; omitted: its last.",
}
REQUIRED = "required"
"""What stands in place of the default of an attribute that has none."""
NAME = "name"
"""The name of the use, among the attributes."""
ATTRIBUTE = re.compile(r"\$\$|\$([A-Za-z_]\w*)|\$\(([A-Za-z_]\w*)\)", re.ASCII)
"""``$filters`` or ``$(filters)``; ``$$`` is a dollar sign."""
_ATTRIBUTE_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Block:
    """One block: its attributes with their defaults, what its inputs are called, its layers and its output.

    The only input of a block that names none is called "", which nothing but its first layer reads.
    """

    name: str
    attributes: Mapping[str, Entry]
    inputs: tuple[str, ...]
    layers: tuple[Map, ...]
    output: str


def text_of(node: Map, key: str) -> str:
    """The text of a scalar at a key; empty where there is none."""
    value = node.get(key)
    return value.text if isinstance(value, Scalar) else ""


def attributes_in(node: Node) -> Iterator[tuple[str, Scalar]]:
    """The attributes that the values below a node name, and where."""
    for one in scalars(node):
        if isinstance(one.value, str):
            yield from ((m[1] or m[2], one) for m in ATTRIBUTE.finditer(one.value) if m[0] != "$$")


def read_blocks(root: Map, report: Report) -> dict[str, Block]:
    """The blocks of a merged spec by name. Raises SpecError where one is wrong: little can be said of what uses it."""
    section = root.get("blocks")
    if section is None:
        return {}
    before = len(report.problems)
    body = Fields(report).as_map(section, "blocks", "as in residual: {layers: [...]}")
    found = {name: _read(name, entry, report) for name, entry in body.entries.items()} if body else {}
    blocks = {name: block for name, block in found.items() if block is not None}
    if len(report.problems) > before:
        report.finish()
    return blocks


def block_of(composite: Composite, mark: Mark, fields: Fields) -> Block | None:
    """What a composite is for the attributes of one use, at whose place it stands; None, with a problem, if bad."""
    try:
        made = from_plain({"layers": list(composite.layers())}, mark)
    except LayerError as error:
        fields.note(mark, error.message, error.remedy)
        return None
    except Exception as error:  # a plugin's mistake must not look like one of netspec
        fields.note(mark, f"the composite '{composite.type}' raises {type(error).__name__}: {error}")
        return None
    before = len(fields.report.problems)
    body = made if isinstance(made, Map) else Map({}, mark)
    layers = _layers(body, fields)
    _check_attributes({}, layers, fields)
    names = [text_of(layer, "name") for layer in layers]
    output = composite.output or (names[-1] if names else "")
    if output not in names:
        fields.note(mark, f"the composite '{composite.type}' names no layer of its own as output: {show(output)}")
    found = Block(composite.type, {}, composite.inputs, layers, output)
    return found if len(fields.report.problems) == before else None


def _read(name: str, entry: Entry, report: Report) -> Block | None:
    fields = Fields(report, f"blocks.{name}")
    check_name(Scalar(name, name, entry.mark), "block", fields)
    if name in layer_types() or name in composite_types():
        fields.note(entry.mark, f"'{name}' is a type of layer", "call the block something else")
    body = fields.as_map(entry.value, f"blocks.{name}", "as in residual: {layers: [...]}")
    if body is None:
        return None
    fields.refuse_unknown(body, BLOCK_KEYS)
    attributes = _attributes(body, fields)
    layers = _layers(body, fields)
    names = [text_of(layer, "name") for layer in layers]
    inputs = _inputs(body, names, fields)
    if not layers:
        return None
    _check_attributes(attributes, layers, fields)
    return Block(name, attributes, inputs, layers, _output(body, names, fields))


def _attributes(body: Map, fields: Fields) -> dict[str, Entry]:
    """The attributes with their defaults, as entries of a map."""
    written = body.get("attributes")
    listed = fields.as_map(written, "attributes", "as in {filters: required, stride: 1}") if written else None
    found: dict[str, Entry] = {}
    for name, entry in listed.entries.items() if listed else ():
        if name in LAYER_KEYS:
            fields.note(entry.mark, f"'{name}' is a key that every layer has", "call the attribute something else")
        elif not _ATTRIBUTE_NAME.fullmatch(name):
            remedy = "letters, digits and _, beginning with a letter or _"
            fields.note(entry.mark, f"{show(name)} cannot be the name of an attribute", remedy)
        else:
            found[name] = entry
        for inner, scalar in attributes_in(entry.value):
            fields.note(scalar.mark, f"the default of '{name}' names an attribute, '{inner}'", "defaults are values")
    return found


def _layers(body: Map, fields: Fields) -> tuple[Map, ...]:
    """The layers, each a map with a name of its own and a type."""
    written = body.get("layers")
    if not isinstance(written, List) or not written.items:
        mark = written.mark if written else body.mark
        fields.note(mark, "a block needs 'layers', a list of them", "- {name: conv, type: conv, ...}")
        return ()
    taken: dict[str, int] = {}
    for node in written.items:
        if not isinstance(node, Map):
            fields.note(node.mark, f"a layer must be a map, got {show(plain(node))}", "- {name: ..., type: ...}")
            continue
        for key in ("name", "type"):
            value = node.get(key)
            if not isinstance(value, Scalar) or not isinstance(value.value, str):
                fields.note((value or node).mark, f"a layer of a block needs a '{key}', a word")
        name = text_of(node, "name")
        if name in taken:
            fields.note(node.mark, f"the name '{name}' is taken", f"first at line {taken[name]}; names are unique")
        taken.setdefault(name, node.mark.line)
    return tuple(node for node in written.items if isinstance(node, Map))


def _inputs(body: Map, layers: list[str], fields: Fields) -> tuple[str, ...]:
    written = body.get("inputs")
    if written is None:
        return ("",)
    items = written.items if isinstance(written, List) else (written,)
    if not items:
        fields.note(written.mark, "'inputs' is an empty list", "leave it out where only the first layer reads anything")
    names = [name for item in items if (name := check_name(item, "block's input", fields))]
    for item, name in zip(items, names, strict=False):
        if name in layers or names.count(name) > 1:
            fields.note(item.mark, f"the name '{name}' is taken", "the inputs and layers of a block have names apart")
    return tuple(names)


def _output(body: Map, layers: list[str], fields: Fields) -> str:
    written = body.get("output")
    name = plain(written) if written is not None else layers[-1]
    if written is not None and name not in layers:
        fields.note(written.mark, f"'output' names no layer of the block: {show(name)}", meant(str(name), layers))
    return str(name)


def _check_attributes(attributes: Mapping[str, Entry], layers: tuple[Map, ...], fields: Fields) -> None:
    """Each attribute is named by a layer, and each that a layer names is there."""
    used = dict.fromkeys([NAME])
    for layer in layers:
        for name, scalar in attributes_in(layer):
            used[name] = None
            if name not in (NAME, *attributes):
                near = nearest(name, [NAME, *attributes])
                remedy = f"did you mean '{near}'?" if near else "list it in 'attributes'"
                fields.note(scalar.mark, f"the block has no attribute '{name}'", remedy)
                used[near or NAME] = None
    for name, entry in attributes.items():
        if name not in used:
            fields.note(entry.mark, f"no layer of the block says ${name}", "take the attribute out")
