"""A Spec as plain data and as text; both are specs again, with everything written out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from netspec.errors import Mark
from netspec.spec.build import VERSION, build, check_version
from netspec.spec.class_counts import WORD
from netspec.spec.merge import merge
from netspec.spec.nodes import Map, from_plain
from netspec.spec.overrides import FILE as SET
from netspec.spec.problems import Report
from netspec.spec.scalars import text_of
from netspec.spec.types import Connection, DataSpec, LayerSpec, Multiplier, Spec

_COMMENT_COLUMN = 52
_DEFAULT = "default"
_DATA = DataSpec()


def canonical(spec: Spec) -> dict[str, Any]:
    """The spec as plain data (dicts, lists, scalars) for JSON and checkpoints; ``from_canonical`` reads it."""
    data: dict[str, Any] = {
        "netspec": VERSION,
        "name": spec.name,
        "devices": list(spec.devices),
        "replicas": spec.replicas,
        "inputs": {name: {"shape": list(one.shape), "dtype": one.dtype} for name, one in spec.inputs.items()},
        "layers": [_layer(layer) for layer in spec.layers],
        "train": _lists(asdict(spec.train)),
        "data": _data(spec.data),
    }
    return data


def from_canonical(data: Mapping[str, Any], file: str = "<canonical>") -> Spec:
    """The Spec that ``canonical`` gave the data for; ``file`` is named in messages.

    Raises SpecError where the data are no spec.
    """
    report = Report()
    root = from_plain(data, Mark(file, 1, 1))
    if not isinstance(root, Map):
        report.note(root.mark, "a spec is a map of keys")
    elif check_version(root, report):
        return build(merge([root], report), "network", report)
    report.finish()
    raise AssertionError("a spec of another version is a problem")


def resolved(spec: Spec) -> str:
    """The spec as YAML with everything written out, each line with the origin of its value as a comment."""
    lines: list[str] = []
    for text, origin in _lines(spec):
        lines.append(f"{text:<{_COMMENT_COLUMN}}  # {origin}" if origin else text)
    return "\n".join(lines) + "\n"


_LATER = ("augment", "split", "split_seed", "classes", "resident")
"""Keys of ``data`` that version 0.1 does not have: not written where nothing is said, so that its runs go on."""


def _data(data: DataSpec) -> dict[str, Any]:
    written: dict[str, Any] = _lists(asdict(data))
    unsaid = [key for key in _LATER if getattr(data, key) == getattr(_DATA, key)]
    return {key: value for key, value in written.items() if key not in unsaid}


def _layer(layer: LayerSpec) -> dict[str, Any]:
    data: dict[str, Any] = {"name": layer.name, "type": layer.type}
    data["device"] = layer.devices[0] if len(layer.devices) == 1 else list(layer.devices)
    data["split"] = layer.split
    inputs = [_connection(connection) for connection in layer.inputs]
    data["inputs"] = inputs[0] if len(inputs) == 1 else inputs
    if layer.share is not None:
        data["share"] = layer.share
    else:
        data |= _multiplier(layer.multiplier)
    if layer.param_multipliers:
        data["params"] = {name: _multiplier(factors) for name, factors in layer.param_multipliers.items()}
    if layer.within:
        data["within"] = list(layer.within)
    return {**data, **_lists(layer.attrs), **dict.fromkeys(layer.of_classes, WORD)}


def _connection(connection: Connection) -> str | dict[str, str]:
    source = connection.source + (f".{connection.output}" if connection.output else "")
    return source if connection.connect == "same" else {"from": source, "connect": connection.connect}


def _multiplier(factors: Multiplier) -> dict[str, float]:
    return {"rate": factors.rate, "decay": factors.decay}


def _lists(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _lists(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_lists(item) for item in value]
    return value


def _lines(spec: Spec) -> Iterator[tuple[str, str]]:
    """The text line by line, with origins."""
    data = canonical(spec)
    for key in ("netspec", "name", "devices", "replicas"):
        yield from _value_lines(key, data[key], spec.marks, key, "")
    yield "inputs:", ""
    for name, value in data["inputs"].items():
        yield from _value_lines(name, value, spec.marks, f"inputs.{name}", "  ")
    yield "layers:", ""
    for layer, written in zip(spec.layers, data["layers"], strict=True):
        yield from _layer_lines(layer, written)
    for section in ("train", "data"):
        yield f"{section}:", ""
        for key, value in data[section].items():
            yield from _value_lines(key, value, spec.marks, f"{section}.{key}", "  ")


def _layer_lines(layer: LayerSpec, written: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    split = _DEFAULT if layer.split == "channels" else "as its input"
    for key, value in written.items():
        if key not in layer.marks and _is_obvious(layer, key):
            continue
        unwritten = {"inputs": "the layer above", "device": "as its input", "split": split}.get(key, _DEFAULT)
        indent = "  - " if key == "name" else "    "
        yield from _value_lines(key, value, layer.marks, key, indent, unwritten)


def _is_obvious(layer: LayerSpec, key: str) -> bool:
    """Keys that every layer has and that say nothing where nobody wrote them."""
    return key in ("rate", "decay") or (key == "split" and len(layer.devices) == 1)


def _value_lines(
    key: str, value: Any, marks: Mapping[str, Mark], path: str, indent: str, unwritten: str = _DEFAULT
) -> Iterator[tuple[str, str]]:
    """One line where all of the value comes from one place, else a line for each part."""
    origins = set(_origins(value, marks, path, unwritten))
    if len(origins) == 1:
        yield f"{indent}{text_of(key)}: {flow(value)}", origins.pop()
        return
    yield f"{indent}{text_of(key)}:", ""
    for name, part in value.items():
        yield from _value_lines(name, part, marks, f"{path}.{name}", indent + "  ", unwritten)


def _origins(value: Any, marks: Mapping[str, Mark], path: str, unwritten: str) -> Iterator[str]:
    """The origins of a value's parts; of the whole where its parts have no places of their own."""
    if isinstance(value, Mapping) and any(key.startswith(path + ".") for key in marks):
        for name, part in value.items():
            yield from _origins(part, marks, f"{path}.{name}", unwritten)
    else:
        yield _origin(marks[path]) if path in marks else unwritten


def _origin(mark: Mark) -> str:
    """``file:line``, with the line of its use in a block, or the whole of a ``--set``."""
    used = f", used at {mark.use.line if mark.use.file == mark.file else mark.use}" if mark.use else ""
    text = mark.text if mark.file == SET else f"{mark.file}:{mark.line}{used}"
    return "".join(char if char.isprintable() else "?" for char in text)


def flow(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{text_of(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return text_of(value)
