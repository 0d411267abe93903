"""The JSON Schema of specs, for editors: the base and every registered layer's attributes.

It knows what one value must be; what needs the whole spec (names, devices, readers) only the loader can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netspec.contract.attrs import LAYER_KEYS
from netspec.data.known_sources import source_types
from netspec.init import initialiser_types
from netspec.metrics import metric_types
from netspec.registry import augmentation_types, composite_types, layer_types
from netspec.schedules import schedule_types
from netspec.solvers import solver_types
from netspec.spec.augment_section import OFF, ON
from netspec.spec.blocks import BLOCK_KEYS
from netspec.spec.build import KEYS, REPLICAS, VERSION
from netspec.spec.class_counts import WORD, may_follow
from netspec.spec.connections import CONNECT
from netspec.spec.expansion import USE_KEYS
from netspec.spec.fields import Attrs, Types, is_optional
from netspec.spec.layer_section import IN_DEFAULTS, MULTIPLIERS, attributes_of
from netspec.spec.sections import DATA, INPUT
from netspec.spec.train_section import METRICS, OPTIONAL, PARTS, SHORT, TRAIN

Schema = dict[str, Any]

_NAME: Schema = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]*$"}
_REFERENCE: Schema = {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_-]*(\\.[A-Za-z_][A-Za-z0-9_-]*)?$"}
_ATTRIBUTE: Schema = {"type": "string", "pattern": "\\$"}
"""What stands for, or holds, an attribute of a block: ``$filters``."""
_NAMES: Schema = {"type": "array", "items": _NAME, "minItems": 1, "uniqueItems": True}


def schema() -> Schema:
    """The JSON Schema (draft 2020-12) of a spec as ``yaml.safe_load`` gives it.

    Where ``extends`` stands layers may be partial; where it or ``defaults`` stands, attributes may be missing; where it
    or ``blocks`` stands, a layer's type may be a block.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "netspec",
        "type": "object",
        "properties": {key: {"description": _ABOUT[key], **_SECTIONS[key]()} for key in KEYS},
        "required": ["netspec"],
        "additionalProperties": False,
        "allOf": [
            _unless(["extends"], {"required": ["inputs", "layers"], **_layers_all({"$ref": "#/$defs/whole_layer"})}),
            _unless(["extends", "defaults"], _layers_all({"$ref": "#/$defs/complete_layer"})),
            _unless(["extends", "blocks"], _layers_all({"properties": {"type": {"enum": _types()}}})),
        ],
        "$defs": {
            "initialiser": _typed(initialiser_types()),
            "block_initialiser": _in_block(_typed(initialiser_types())),
            "layer": (layer := _layer()),
            "block_layer": _in_block(layer),
            "whole_layer": {"required": ["name", "type"]},
            "complete_layer": {"allOf": [_when_type(name, {"required": _required(name)}) for name in layer_types()]},
        },
    }


def _unless(keys: list[str], then: Schema) -> Schema:
    return {"if": {"anyOf": [{"required": [key]} for key in keys]}, "else": then}


def _layers_all(item: Schema) -> Schema:
    return {"properties": {"layers": {"items": item}}}


def _when_type(name: str, then: Schema) -> Schema:
    return {"if": {"properties": {"type": {"const": name}}, "required": ["type"]}, "then": then}


def _closed(properties: Mapping[str, Any], **more: Any) -> Schema:
    return {"type": "object", "properties": dict(properties), "additionalProperties": False, **more}


def _typed(types: Types) -> Schema:
    """A map whose ``type`` decides its other keys; ``type`` may be missing where it merges with another."""
    cases = [_when_type(name, _closed({"type": {}, **_fragments(cls.attrs)})) for name, cls in types.items()]
    return {"type": "object", "properties": {"type": {"enum": list(types)}}, "allOf": cases}


def _fragments(attrs: Attrs) -> Schema:
    return {key: _fragment(schema) for key, schema in attrs.items()}


def _fragment(schema: Mapping[str, Any]) -> Schema:
    if schema.get("x-netspec") == "initialiser":
        kept = {key: value for key, value in schema.items() if key in ("default", "description")}
        return {"$ref": "#/$defs/initialiser", **kept}
    if may_follow(schema):
        return {"anyOf": [dict(schema), {"const": WORD}]}
    if is_optional(schema):
        return {"anyOf": [dict(schema), {"type": "null"}]}
    return dict(schema)


def _layer() -> Schema:
    common = _common()
    keys: Schema = {key: {} for key in common}
    cases = [_when_type(name, _closed({**keys, **_fragments(attributes_of(name))})) for name in layer_types()]
    uses: Schema = {key: {} for key in (*USE_KEYS, "after", "remove")}
    cases += [_when_type(name, _closed({**uses, **_fragments(cls.attrs)})) for name, cls in composite_types().items()]
    return {"type": "object", "required": ["name"], "properties": common, "allOf": cases}


def _types() -> list[str]:
    return [*layer_types(), *composite_types()]


def _in_block(schema: Schema) -> Schema:
    """A schema of values in a block's layers: in place of any value, or part of one, attributes may stand."""
    if schema.get("$ref") == "#/$defs/initialiser":
        return _or_attribute({**schema, "$ref": "#/$defs/block_initialiser"})
    inner: Schema = {key: [_in_block(one) for one in schema[key]] for key in ("anyOf", "allOf") if key in schema}
    inner |= {key: _in_block(schema[key]) for key in ("items", "then", "additionalProperties") if schema.get(key)}
    if "properties" in schema:
        inner["properties"] = {key: _in_block(one) for key, one in schema["properties"].items()}
    return _or_attribute({**schema, **inner}) if "if" not in schema else {**schema, **inner}


def _or_attribute(schema: Schema) -> Schema:
    about: Schema = {key: schema[key] for key in ("description", "default") if key in schema}
    return {**about, "anyOf": [schema, _ATTRIBUTE]}


def _common() -> Schema:
    device = {"anyOf": [_NAME, _NAMES]}
    one_input = {"anyOf": [_REFERENCE, _closed({"from": _REFERENCE, **CONNECT}, required=["from"])]}
    kinds: Mapping[str, Schema] = {
        "name": _NAME,
        "type": {"anyOf": [{"enum": _types()}, _NAME]},
        "device": device,
        "split": {"enum": ["channels", "batch", "none"]},
        "inputs": {"anyOf": [*one_input["anyOf"], {"type": "array", "items": one_input, "minItems": 1}]},
        "share": {"anyOf": [_NAME, {"type": "null"}]},
        **{key: dict(attr) for key, attr in MULTIPLIERS.items()},
        "params": {"type": "object", "additionalProperties": _closed(MULTIPLIERS)},
        "within": {"anyOf": [_NAME, {**_NAMES, "uniqueItems": False}]},
        "after": _NAME,
        "remove": {"type": "boolean"},
    }
    return {key: {**kinds[key], "description": text} for key, text in LAYER_KEYS.items()}


def _required(name: str) -> list[str]:
    return [key for key, attr in attributes_of(name).items() if "default" not in attr]


def _defaults() -> Schema:
    common = _common()
    shared = {key: common[key] for key in IN_DEFAULTS}
    return _closed({name: _closed({**_fragments(attributes_of(name)), **shared}) for name in layer_types()})


def _blocks() -> Schema:
    layers = {"type": "array", "items": {"$ref": "#/$defs/block_layer"}, "minItems": 1}
    kinds: Mapping[str, Schema] = {
        "attributes": {"type": "object", "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
        "inputs": {"anyOf": [_NAME, _NAMES]},
        "layers": layers,
        "output": {"type": "string"},
    }
    block = _closed({key: {**kinds[key], "description": text} for key, text in BLOCK_KEYS.items()})
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": block}


def _train() -> Schema:
    parts: Schema = {key: _closed(_fragments(attrs)) for key, attrs in PARTS.items()}
    parts |= {key: {"anyOf": [parts[key], {"type": "null"}]} for key in OPTIONAL}
    parts["init_from"]["anyOf"].append({"type": "string"})
    solvers = solver_types()
    about = f"Short for solver: {{type: {SHORT}, ...}}."
    parts[SHORT] = _closed(_fragments(solvers[SHORT].attrs), description=about)
    solver = {"anyOf": [_typed(solvers), {"type": "string", "enum": list(solvers)}]}
    metric = {"anyOf": [_typed(metric_types()), {"type": "string", "enum": list(metric_types())}]}
    metrics = {"type": "array", "items": metric, "description": METRICS}
    typed = {"solver": solver, "schedule": _typed(schedule_types()), "metrics": metrics}
    return _closed({**_fragments(TRAIN), **parts, **typed})


def _data() -> Schema:
    source = {"anyOf": [{"type": "string", "enum": list(source_types())}, _typed(source_types())]}
    return _closed({**_fragments(DATA), "source": source, "augment": _augment()})


def _augment() -> Schema:
    each = {
        name: {"anyOf": [_closed(_fragments(cls.attrs)), {"enum": [*ON, *OFF]}]}
        for name, cls in augmentation_types().items()
    }
    description = "How training images are altered, in order: attributes by name, or off."
    return {"anyOf": [_closed(each), {"enum": list(OFF)}], "description": description}


_SECTIONS: Mapping[str, Callable[[], Schema]] = {
    "netspec": lambda: {"const": VERSION},
    "name": lambda: {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$"},
    "extends": lambda: {"type": "string"},
    "devices": lambda: dict(_NAMES),
    "replicas": lambda: dict(REPLICAS["replicas"]),
    "inputs": lambda: {
        "type": "object",
        "propertyNames": _NAME,
        "additionalProperties": _closed(INPUT),
        "minProperties": 1,
    },
    "defaults": _defaults,
    "blocks": _blocks,
    "layers": lambda: {"type": "array", "items": {"$ref": "#/$defs/layer"}, "minItems": 1},
    "train": _train,
    "data": _data,
}
_ABOUT = {
    "netspec": "Version of the spec language.",
    "name": "Name of the network.",
    "extends": "Path of the spec that this one changes, or a shipped one's name.",
    "devices": "Logical devices; bound to real ones when the spec is run.",
    "replicas": REPLICAS["replicas"]["description"],
    "inputs": "The network's inputs by name.",
    "defaults": "By layer type: attributes that its layers have unless they say otherwise.",
    "blocks": "Sub-nets by name: what several places of 'layers' use, with attributes of their own.",
    "layers": "The layers in order; each reads only what stands above it.",
    "train": "How the network is trained.",
    "data": "Where images come from, and what is done to them.",
}
