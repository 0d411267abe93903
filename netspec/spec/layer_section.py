"""The layers of a spec: names, types, attributes and devices. What needs shapes is the plan's business."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from netspec.contract.attrs import LAYER_KEYS, boolean, choice, number
from netspec.errors import Mark
from netspec.registry import composite_types, installed_faults, layer_types
from netspec.spec.connections import Known, read_connections
from netspec.spec.fields import Attrs, Fields
from netspec.spec.nodes import List, Map, Node, Scalar, plain
from netspec.spec.overlay import overlay
from netspec.spec.problems import Report
from netspec.spec.types import Connection, InputSpec, LayerSpec, Multiplier, Split
from netspec.spec.wording import did_you_mean, meant, show

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")

MULTIPLIERS: Attrs = {
    "rate": number("Factor on the learning rate.", default=1.0, minimum=0),
    "decay": number("Factor on the weight decay.", default=1.0, minimum=0),
}
# What ``defaults`` may set for a type beside its attributes.
IN_DEFAULTS = ("rate", "decay", "params")
_SPLIT = choice("channels", "batch", "none")
_REMOVE = boolean()


def attributes_of(type_name: str) -> Attrs:
    """The attributes that a layer type declares."""
    attrs: Attrs = layer_types()[type_name].attrs
    return attrs


@dataclass(slots=True)
class Layers:
    """Reads the layers one after the other; each sees those above it.

    ``devices`` is None where the spec's list of them cannot be read.
    """

    report: Report
    devices: tuple[str, ...] | None
    inputs: Mapping[str, InputSpec]
    defaults: Mapping[str, Map]
    blocks: Iterable[str] = ()
    names: Mapping[str, Mark] = field(default_factory=dict)
    done: list[LayerSpec] = field(default_factory=list)
    by_name: dict[str, LayerSpec] = field(default_factory=dict)
    taken: dict[str, Mark] = field(default_factory=dict)
    unplaced: bool = False

    def read_all(self, node: Node) -> tuple[LayerSpec, ...]:
        """All layers in order."""
        if not isinstance(node, List) or not node.items:
            self.report.note(node.mark, f"'layers' must be a list of layers, got {show(plain(node))}")
            return ()
        self.names = {_text(item, "name"): item.mark for item in node.items if isinstance(item, Map)}
        self.taken = {name: spec.mark for name, spec in self.inputs.items()}
        for item in node.items:
            if isinstance(item, Map):
                self.read(item)
            else:
                self.report.note(
                    item.mark, f"a layer must be a map, got {show(plain(item))}", "- {name: ..., type: ...}"
                )
        return tuple(self.done)

    def read(self, node: Map) -> None:
        """One layer."""
        fields = Fields(self.report)
        name = self.name(node, fields)
        fields.owner = name or "layer"
        kind = self.type(node, fields)
        laid = self.with_defaults(node, kind)
        declared = attributes_of(kind) if kind else {}
        attrs = fields.read(laid, declared, place=node.entries["type"].value.mark if kind else None)
        known = Known(self.done, self.by_name, self.inputs, self.names, self.report)
        connections = read_connections(node, name or "layer", known)
        if "inputs" in node.entries:
            fields.marks["inputs"] = node.entries["inputs"].mark
        devices = self.device(node, connections, fields)
        share = self.share(node, kind, devices, fields)
        rated = laid if share is None else Map({}, node.mark)  # the factors of shared parameters are their owner's
        multiplier = Multiplier(**fields.read(_only(rated, MULTIPLIERS), MULTIPLIERS))
        layer = LayerSpec(
            name=name or _text(node, "name") or "?",
            type=kind or "?",
            devices=devices,
            split=self.split(node, connections, devices, fields),
            inputs=connections,
            attrs=attrs,
            share=share,
            multiplier=multiplier,
            param_multipliers=_params(rated, multiplier, fields),
            mark=node.mark,
            marks=fields.marks,
            within=_within(node, fields),
        )
        self.done.append(layer)
        self.by_name.setdefault(layer.name, layer)

    def name(self, node: Map, fields: Fields) -> str | None:
        """The layer's name, checked and entered into the list of names."""
        written = node.get("name")
        if written is None:
            fields.note(node.mark, "a layer needs a 'name'", "as in: - {name: conv1, type: conv}")
            return None
        text = check_name(written, "layer", fields)
        if text is None:
            return None
        fields.marks["name"] = node.entries["name"].mark
        if text in self.taken:
            first = self.taken[text]
            fields.note(written.mark, f"the name '{text}' is taken", f"first at line {first.line}; names are unique")
        self.taken.setdefault(text, written.mark)
        return text

    def type(self, node: Map, fields: Fields) -> str | None:
        """The layer's type; keys that it does not know are reported."""
        written = node.get("type")
        if written is None:
            fields.note(node.mark, "a layer needs a 'type'", "'netspec layers' lists them")
            return None
        kind = plain(written)
        if not isinstance(kind, str) or kind not in layer_types():
            fields.note(written.mark, f"unknown layer type {show(kind)}", _meant_type(str(kind), self.blocks))
            return None
        fields.marks["type"] = node.entries["type"].mark
        for key in ("after", "remove"):
            if key in node.entries:
                fields.note(node.entries[key].mark, f"'{key}' is for a spec that extends another", "remove it")
        declared = attributes_of(kind)
        fields.refuse_unknown(node, [*declared, *LAYER_KEYS], hint=_own_keys(kind, declared))
        return kind

    def with_defaults(self, node: Map, kind: str | None) -> Map:
        """The layer laid over the defaults of its type."""
        below = self.defaults.get(kind or "")
        laid = overlay(below.without("type"), node.without("inputs")) if below else node
        return laid if isinstance(laid, Map) else node

    def device(self, node: Map, connections: tuple[Connection, ...], fields: Fields) -> tuple[str, ...]:
        """The devices written, or those of the layer that the first input comes from."""
        written = node.get("device")
        if written is not None:
            fields.marks["device"] = node.entries["device"].mark
            return self.check_devices(written, fields)
        source = connections[0].source if connections else ""
        above = self.by_name.get(source) or (self.done[-1] if self.done else None)
        if above is not None:
            return above.devices
        if self.devices and len(self.devices) != 1:
            self.unplaced = True
            fields.note(node.mark, "the first layer needs a 'device'", _device_example(self.devices))
        return self.devices or ()

    def check_devices(self, node: Node, fields: Fields) -> tuple[str, ...]:
        """The names of ``device``: each known, none twice."""
        items = node.items if isinstance(node, List) else (node,)
        if not items:
            fields.note(node.mark, "'device' is an empty list", _device_example(self.devices or ()))
        found: dict[str, Mark] = {}
        for item in items:
            name = plain(item)
            if self.devices is None:
                self.unplaced = True  # the list of devices is wrong, and that has been told
            elif not isinstance(name, str) or name not in self.devices:
                fields.note(item.mark, f"unknown device {show(name)}", meant(str(name), self.devices))
                self.unplaced = True
            elif name in found:
                fields.note(item.mark, f"device '{name}' is listed twice", "each device takes one part of a layer")
            else:
                found[name] = item.mark
        return tuple(found)

    def split(
        self, node: Map, connections: tuple[Connection, ...], devices: tuple[str, ...], fields: Fields
    ) -> Split:
        """How the layer is divided: as written, else by rows where it reads rows on its own devices, or by channels."""
        written = _only(node, ("split",))
        found = fields.read(written, {"split": _SPLIT}).get("split") if written.entries else None
        if found is not None:
            return cast(Split, found)
        sources = (self.by_name.get(one.source) for one in connections if one.connect == "same")
        by_rows = any(one and one.split == "batch" and one.devices == devices for one in sources)
        return "batch" if by_rows and len(devices) > 1 else "channels"

    def share(self, node: Map, kind: str | None, devices: tuple[str, ...], fields: Fields) -> str | None:
        """The layer whose parameters this one uses: above it, of the same type and on the same devices."""
        written = node.get("share")
        name = plain(written) if written is not None else None
        if written is None or name is None:
            return None
        fields.marks["share"] = node.entries["share"].mark
        other = self.by_name.get(name) if isinstance(name, str) else None
        if other is None:
            if not self.report.orphan(fields.owner, str(name)):
                remedy = did_you_mean(str(name), self.by_name)
                fields.note(written.mark, f"'share' names no layer above: {show(name)}", remedy)
        elif kind is not None and other.type != kind:
            message = f"cannot share: '{name}' is of type {other.type}, this is {kind}"
            fields.note(written.mark, message, f"name a {kind} layer")
        elif other.devices != devices:
            theirs, ours = _join(other.devices), _join(devices)
            fields.note(written.mark, f"cannot share: '{name}' is on {theirs}, this is on {ours}", f"device: {theirs}")
        elif other.share is not None:
            fields.note(written.mark, f"'{name}' has no parameters of its own", f"share: {other.share}")
        for key in ("rate", "decay", "params"):
            if key in node.entries:
                message = f"'{key}' changes nothing here: the parameters are those of '{name}'"
                fields.note(node.entries[key].mark, message, "write it there")
        return str(name)


def _meant_type(kind: str, blocks: Iterable[str]) -> str:
    """A remedy for an unknown type: it may be misspelt, or its plugin may not have been named."""
    names = [*layer_types(), *blocks, *composite_types()]
    known = did_you_mean(kind, names) or f"known: {', '.join(names)}; a plugin's layer is found with --plugin FILE"
    return "; ".join([known, *installed_faults()])


def _within(node: Map, fields: Fields) -> tuple[str, ...]:
    """The names of the frames round the layer."""
    written = node.get("within")
    if written is None:
        return ()
    fields.marks["within"] = node.entries["within"].mark
    items = written.items if isinstance(written, List) else (written,)
    return tuple(name for item in items if (name := check_name(item, "frame", fields)) is not None)


def _params(node: Map, layer: Multiplier, fields: Fields) -> dict[str, Multiplier]:
    """Factors of single parameters; what one leaves out is the layer's."""
    written = node.get("params")
    body = fields.as_map(written, "params") if written is not None else None
    found: dict[str, Multiplier] = {}
    for name, entry in body.entries.items() if body else ():
        fields.marks[f"params.{name}"] = entry.mark
        factors = fields.as_map(entry.value, f"params.{name}")
        if factors is not None:
            fields.refuse_unknown(factors, MULTIPLIERS, f"params.{name}")
            own = {"rate": layer.rate, "decay": layer.decay}
            schema = {key: {**attr, "default": own[key]} for key, attr in MULTIPLIERS.items()}
            found[name] = Multiplier(**{**own, **fields.read(factors, schema, f"params.{name}")})
    return found


def check_name(node: Node, what: str, fields: Fields) -> str | None:
    """The name of a layer, an input or a device; None, with a problem, where it cannot be one."""
    value = plain(node)
    text = node.text if isinstance(node, Scalar) else ""
    if isinstance(value, str) and _NAME.fullmatch(value):
        return value
    remedy = "letters, digits, _ and -, beginning with a letter or _"
    fields.note(node.mark, f"{show(value if not text else text)} cannot be the name of a {what}", remedy)
    return None


def _own_keys(kind: str, attrs: Attrs) -> str:
    return f"{kind} has {', '.join(attrs)}" if attrs else f"{kind} has no attributes"


def _only(node: Map, keys: Any) -> Map:
    return Map({key: entry for key, entry in node.entries.items() if key in keys}, node.mark)


def _text(node: Map, key: str) -> str:
    value = node.get(key)
    return value.text if isinstance(value, Scalar) else ""


def _join(devices: tuple[str, ...]) -> str:
    return devices[0] if len(devices) == 1 else f"[{', '.join(devices)}]"


def _device_example(devices: tuple[str, ...]) -> str:
    one = f"device: {devices[0]}" if devices else "device: NAME"
    return one if len(devices) < 2 else f"{one}, or device: [{', '.join(devices)}] to split it"
