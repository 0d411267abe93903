"""Reads declared fields of a map: unknown keys, wrong and missing values are reported, defaults filled in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from netspec.contract import attrs as declared
from netspec.contract.attrs import Attr, filled
from netspec.contract.values import FLOAT32_MAX, fits, settle
from netspec.errors import Mark
from netspec.spec.class_counts import WORD, may_follow
from netspec.spec.nodes import List, Map, Node, Scalar, plain
from netspec.spec.problems import Report
from netspec.spec.wording import describe, did_you_mean, meant, nearest, show

Attrs = Mapping[str, Attr]
Types = Mapping[str, Any]


class Fields:
    """Reads maps of one owner (a layer, or a section such as ``train``) and remembers where each value stood.

    ``guessed`` has the names that misspelt keys probably meant: they are not told to be missing as well.
    """

    def __init__(self, report: Report, owner: str = "") -> None:
        self.report = report
        self.owner = owner
        self.marks: dict[str, Mark] = {}
        self.guessed: set[str] = set()

    def note(self, mark: Mark, message: str, remedy: str | None = None) -> None:
        """Add a problem of this owner."""
        self.report.note(mark, message, remedy, self.owner)

    def as_map(self, node: Node, name: str, remedy: str | None = None) -> Map | None:
        """The node if it is a map; else a problem and None."""
        if isinstance(node, Map):
            return node
        self.note(node.mark, f"'{name}' must be a map, got {_written(node)}", remedy)
        return None

    def refuse_unknown(self, node: Map, known: Iterable[str], inside: str = "", hint: str | None = None) -> None:
        """A problem for each key that is not known; ``hint`` is the remedy where no known one is near."""
        names = list(known)
        for key, entry in node.entries.items():
            if key not in names:
                where = f" in '{inside}'" if inside else ""
                near = nearest(key, names)
                remedy = f"did you mean '{near}'?" if near else hint or _list(names)
                self.note(entry.mark, f"unknown key '{key}'{where}", remedy)
                if near:
                    self.guessed.add(f"{inside}.{near}" if inside else near)

    def read(self, node: Map, attrs: Attrs, path: str = "", place: Mark | None = None) -> dict[str, Any]:
        """The values of all declared keys in their final types; a bad one is left out.

        ``place`` is pointed at where one is missing, else the map.
        """
        values: dict[str, Any] = {}
        for key, schema in attrs.items():
            entry = node.entries.get(key)
            name = f"{path}.{key}" if path else key
            if entry is not None:
                self.marks[name] = entry.origin
                values |= self.value(key, entry.value, schema, name)
            elif "default" in schema:
                values[key] = default_of(schema)
            elif name not in self.guessed:
                wanted = "a map with a 'type'" if _is_initialiser(schema) else describe(schema)
                self.note(place or node.mark, f"'{name}' is missing", f"it must be {wanted}")
        return values

    def value(self, key: str, node: Node, schema: Attr, name: str) -> dict[str, Any]:
        """One checked value; empty where it is wrong."""
        if _is_initialiser(schema):
            init = self.typed(node, types := _initialisers(), "initialiser", name)
            if init is None:
                return {}
            for setting, message, remedy in types[init["type"]](init).faults():
                mark = self.marks.get(f"{name}.{setting}", self.marks[name])
                self.note(mark, f"'{name}.{setting}' {message}", remedy)
            return {key: init}
        if _has_parts(schema, node):
            parts = self.parts(node, schema, name)
            return {} if parts is None else {key: parts}
        data = plain(node)
        if may_follow(schema) and data == WORD:
            return {key: data}
        if fits(schema, data) or (data is None and is_optional(schema)):
            return {key: settle(schema, data)}
        if isinstance(node, Scalar) and "enum" in schema:
            remedy = did_you_mean(str(data), map(str, schema["enum"]))
        else:
            remedy = _hint(schema, node)
        self.note(node.mark, f"'{name}' must be {_wanted(schema, data)}, got {_written(node)}", remedy)
        return {}

    def parts(self, node: Node, schema: Attr, name: str) -> Any:
        """A list of records, a record or a map of values, each part checked at its own place; None if wrong.

        ``steps`` of ``train.schedule`` are marked as ``train.schedule.steps.0.epoch`` and so on.
        """
        before = len(self.report.problems)
        if isinstance(node, List):
            items = [self.value("", item, schema["items"], f"{name}.{i}") for i, item in enumerate(node.items)]
            found: Any = tuple(item[""] for item in items if item)
        else:
            found = self.record(node, schema, name)
        return found if len(self.report.problems) == before else None

    def record(self, node: Node, schema: Attr, name: str) -> dict[str, Any]:
        """The values of a map by key; a required one that is missing is reported."""
        body = self.as_map(node, name) or Map({}, node.mark)
        self.marks[name] = node.mark
        known = schema.get("properties")
        values: dict[str, Any] = {}
        if known is not None:
            self.refuse_unknown(body, known, name)
        for key in schema.get("required", ()):
            if key not in body.entries and f"{name}.{key}" not in self.guessed and isinstance(node, Map):
                self.note(node.mark, f"'{name}.{key}' is missing", f"it must be {describe(schema['properties'][key])}")
        for key, entry in body.entries.items():
            part = schema["additionalProperties"] if known is None else known.get(key)
            if part is not None:
                self.marks[f"{name}.{key}"] = entry.mark
                values |= self.value(key, entry.value, part, f"{name}.{key}")
        return values

    def typed(self, node: Node, types: Types, what: str, path: str) -> dict[str, Any] | None:
        """A ``{type: ..., ...}`` whose other keys are those that its type declares."""
        body = self.as_map(node, path, f"as in {{type: {next(iter(types))}}}")
        if body is None:
            return None
        kind = body.get("type")
        self.marks[path] = body.mark
        if kind is None:
            self.note(body.mark, f"'{path}' needs a 'type'", f"one of: {', '.join(types)}")
            return None
        if not isinstance(kind, Scalar) or not isinstance(kind.value, str) or kind.value not in types:
            self.note(kind.mark, f"unknown {what} {_written(kind)}", meant(str(plain(kind)), types))
            return None
        self.marks[f"{path}.type"] = body.entries["type"].mark
        attrs = types[kind.value].attrs
        self.refuse_unknown(body, ["type", *attrs], path)
        return {"type": kind.value, **self.read(body, attrs, path)}


def _has_parts(schema: Attr, node: Node) -> bool:
    """Whether the schema says all about the parts of such a node: a list of records, a record or a map of values."""
    if schema.get("type") == "array":
        listed = isinstance(node, List) and len(node.items) >= schema.get("minItems", 0)
        return listed and _is_record(schema.get("items", {}))
    return _is_record(schema)


def _is_record(schema: Attr) -> bool:
    others = schema.get("additionalProperties")
    return isinstance(others, Mapping) or (others is False and "properties" in schema)


def is_optional(schema: Attr) -> bool:
    """Whether null may be written: where it is the default."""
    return schema.get("default", ...) is None


def default_of(schema: Attr) -> Any:
    """The default, complete as if it had been written."""
    default = declared.default_of(schema)
    return complete(default, _initialisers()) if _is_initialiser(schema) and default is not None else default


def complete(value: Mapping[str, Any], types: Types) -> dict[str, Any]:
    """A ``{type: ..., ...}`` with the defaults of its type filled in."""
    return {"type": value["type"], **filled(types[value["type"]].attrs, value)}


def _initialisers() -> Types:
    from netspec.init import initialiser_types

    return initialiser_types()


def _is_initialiser(schema: Attr) -> bool:
    return schema.get("x-netspec") == "initialiser"


def _list(names: list[str]) -> str | None:
    return f"known: {', '.join(names)}" if 0 < len(names) <= 12 else None


def _written(node: Node) -> str:
    """How the value was written: ``1e999`` rather than the infinity it became."""
    if isinstance(node, Scalar) and isinstance(node.value, float):
        return node.text
    return show(plain(node))


def _wanted(schema: Attr, data: Any) -> str:
    """What the schema asks of such a value: of several possible types the one that was written, unless by a word."""
    options = [option for option in schema.get("anyOf", ()) if fits({"type": option.get("type", [])}, data)]
    wanted = describe(options[0] if len(options) == 1 and "enum" not in options[0] else schema)
    is_too_large = isinstance(data, int | float) and not abs(data) <= FLOAT32_MAX
    return wanted.replace("a number", "a finite number of float32") if is_too_large else wanted


def _hint(schema: Attr, node: Node) -> str | None:
    if may_follow(schema) and isinstance(node, Scalar) and isinstance(node.value, str):
        return did_you_mean(node.value, [WORD])
    if (
        isinstance(node, Scalar)
        and any(option.get("type") == "boolean" for option in schema.get("anyOf", [schema]))
        and str(node.value).lower() in ("yes", "no", "on", "off")
    ):
        return "YAML 1.2 knows only true and false"
    return None
