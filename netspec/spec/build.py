"""From the merged nodes of a spec to the Spec."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from netspec.contract.attrs import integer
from netspec.errors import Mark
from netspec.registry import composite_types, layer_types
from netspec.spec.class_counts import ASSUMED, counted, stated_count
from netspec.spec.fields import Attrs, Fields
from netspec.spec.layer_section import IN_DEFAULTS, MULTIPLIERS, Layers, attributes_of, check_name
from netspec.spec.nodes import List, Map, Node, Scalar, plain
from netspec.spec.problems import Report
from netspec.spec.sections import expand_source, read_data, read_inputs
from netspec.spec.train_section import check_patterns, expand_init_from, expand_precision, expand_solver, read_train
from netspec.spec.types import DataSpec, InputSpec, Spec, TrainSpec
from netspec.spec.wording import meant, show
from netspec.units import many

VERSION = 1
KEYS = (
    "netspec", "name", "extends", "devices", "replicas", "inputs", "defaults", "blocks", "layers", "train", "data"
)  # fmt: skip
ONE_DEVICE = "main"
REPLICAS: Attrs = {
    "replicas": integer("Parts of equal size that each training batch is cut into, a power of two; their gradients are "
                        "added in a fixed tree.", default=1, minimum=1, maximum=4096),
}  # fmt: skip
LONGEST_NAME = 128
_NETWORK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def build(root: Map, name: str, report: Report) -> Spec:
    """The Spec of a merged tree; ``name`` is used where the tree has none.

    Raises SpecError with every problem found.
    """
    root = _written_out(root)
    top = Fields(report)
    devices, inputs, train, replicas, data, section_marks = _sections(root, top)
    blocks = _section(root, "blocks", Fields(report)).entries
    reader = Layers(report, devices, inputs, _defaults(root, blocks, report), blocks)
    listed = _needed(root, "layers", top)
    layers = reader.read_all(listed) if listed else ()
    if layers:
        check_patterns(train, layers, section_marks, report)
    classes = stated_count(data) or ASSUMED
    marks = {key: entry.mark for key, entry in root.entries.items()}
    spec = Spec(
        name=read_name(root, name, report),
        devices=devices or (),
        inputs=inputs,
        layers=tuple(counted(layer, classes) for layer in layers),
        train=train,
        data=data,
        mark=root.mark,
        marks={**marks, **section_marks},
        replicas=replicas,
    )
    if layers and not reader.unplaced:
        _tell_idle_devices(root, spec, report)
    report.finish()
    return spec


def check_sections(root: Map, report: Report) -> None:
    """Tell what is wrong with a tree but for its layers and blocks, of which nothing can be told."""
    _sections(_written_out(root), Fields(report))


def _written_out(root: Map) -> Map:
    return expand_precision(expand_solver(expand_init_from(expand_source(root))))


class _Sections(NamedTuple):
    devices: tuple[str, ...] | None
    inputs: Mapping[str, InputSpec]
    train: TrainSpec
    replicas: int
    data: DataSpec
    marks: Mapping[str, Mark]


def _sections(root: Map, top: Fields) -> _Sections:
    """All that a spec says beside its layers."""
    report = top.report
    top.refuse_unknown(root, KEYS)
    devices = _devices(root, top)
    written = _needed(root, "inputs", top)
    inputs, input_marks = read_inputs(written, report) if written else ({}, {})
    train, train_marks = read_train(_section(root, "train", top), report)
    replicas = _replicas(root, train, train_marks, report)
    data, data_marks = read_data(_section(root, "data", top), report)
    return _Sections(devices, inputs, train, replicas, data, {**input_marks, **train_marks, **data_marks})


def check_version(root: Map, report: Report) -> bool:
    """Whether the tree says ``netspec: 1``; nothing else of it can be checked without."""
    version = root.get("netspec")
    if version is None:
        report.note(root.mark, "the key 'netspec' is missing", f"begin the file with 'netspec: {VERSION}'")
    elif plain(version) is True or plain(version) != VERSION:
        remedy = f"this netspec reads version {VERSION}"
        report.note(version.mark, f"unknown version of the spec language: {show(plain(version))}", remedy)
    else:
        return True
    return False


def _needed(root: Map, key: str, top: Fields) -> Node | None:
    node = root.get(key)
    if node is None and key not in top.guessed:
        top.note(root.mark, f"the key '{key}' is missing")
    return node


def _section(root: Map, key: str, top: Fields) -> Map:
    node = root.get(key)
    body = top.as_map(node, key) if node is not None else None
    return body or Map({}, root.mark)


def read_name(root: Map, default: str, report: Report) -> str:
    """The name of the network, which is that of the folder of its runs."""
    node = root.get("name")
    if node is None:
        return re.sub(r"[^A-Za-z0-9_.-]", "-", default).lstrip(".-")[:LONGEST_NAME] or "network"
    value = plain(node)
    if isinstance(value, str) and _NETWORK.fullmatch(value) and len(value) <= LONGEST_NAME:
        return value
    fits = isinstance(value, str) and _NETWORK.fullmatch(value)
    wanted = f"at most {LONGEST_NAME} characters" if fits else "letters, digits, _, - and dots"
    remedy = f"{wanted}; it becomes the name of a folder"
    report.note(node.mark, f"'name' cannot be {show(value)}", remedy)
    return default


def _devices(root: Map, top: Fields) -> tuple[str, ...] | None:
    """The logical devices, in order; one where the spec names none; None where they cannot be read."""
    node = root.get("devices")
    if node is None:
        return None if "devices" in top.guessed else (ONE_DEVICE,)
    if not isinstance(node, List) or not node.items:
        top.note(node.mark, f"'devices' must be a list of names, got {show(plain(node))}", "devices: [left, right]")
        return None
    names = [check_name(item, "device", top) for item in node.items]
    for place, name in enumerate(names):
        if name is not None and name in names[:place]:
            top.note(node.items[place].mark, f"device '{name}' is listed twice")
    return None if None in names else tuple(dict.fromkeys(filter(None, names)))


def _replicas(root: Map, train: TrainSpec, marks: Mapping[str, Mark], report: Report) -> int:
    """Into how many parts a training batch is cut; 1 where what is written cannot be."""
    fields = Fields(report)
    found: int = fields.read(root, REPLICAS).get("replicas", 1)
    problem = uneven_replicas(found, train.batch)
    if problem is not None:
        written = root.get("replicas")
        fields.note(written.mark if written else marks.get("train.batch") or root.mark, *problem)
    return 1 if problem else found


def uneven_replicas(replicas: int, batch: int) -> tuple[str, str] | None:
    """Why a batch cannot be cut into so many parts, and what to do; None where it can."""
    lower = 1 << (replicas.bit_length() - 1)
    if lower != replicas:
        return f"'replicas' must be a power of two, got {replicas:,}", f"{lower:,} or {2 * lower:,}"
    if batch % replicas:
        near = [size for size in (batch // replicas * replicas, (batch // replicas + 1) * replicas) if size]
        remedy = f"train.batch: {' or '.join(map(str, near))}"
        return f"a batch of {many(batch, 'image')} cannot be cut into {replicas:,} replicas of equal size", remedy
    return None


def _defaults(root: Map, blocks: Iterable[str], report: Report) -> Mapping[str, Map]:
    """The checked ``defaults`` by layer type; wrong keys are reported once, not once a layer, and left out."""
    found: dict[str, Map] = {}
    for kind, entry in _section(root, "defaults", Fields(report)).entries.items():
        fields = Fields(report, f"defaults.{kind}")
        body = fields.as_map(entry.value, f"defaults.{kind}")
        if kind in blocks:
            report.note(entry.mark, f"'{kind}' is a block", f"its defaults stand in blocks.{kind}.attributes")
        elif kind in composite_types():
            report.note(entry.mark, f"'{kind}' is a composite", "write its attributes where it is used")
        elif kind not in layer_types():
            report.note(entry.mark, f"'defaults' for an unknown layer type '{kind}'", meant(kind, layer_types()))
        elif body is not None:
            found[kind] = _checked(body, attributes_of(kind), fields)
    return found


def _checked(body: Map, attrs: Attrs, fields: Fields) -> Map:
    """The map without the keys that its schema refuses, each of which is reported."""
    fields.refuse_unknown(body, [*attrs, *IN_DEFAULTS], hint=f"known: {', '.join([*attrs, *IN_DEFAULTS])}")
    schemas = {**attrs, **MULTIPLIERS}
    good = {}
    for key, entry in body.entries.items():
        before = len(fields.report.problems)
        if key in schemas:
            fields.value(key, entry.value, schemas[key], key)
        if key in (*schemas, "params") and len(fields.report.problems) == before:
            good[key] = entry
    return Map(good, body.mark)


def _tell_idle_devices(root: Map, spec: Spec, report: Report) -> None:
    used = {device for layer in spec.layers for device in layer.devices}
    listed = root.get("devices")
    for item in listed.items if isinstance(listed, List) else ():
        if isinstance(item, Scalar) and item.value in spec.devices and item.value not in used:
            report.note(item.mark, f"no layer is on device '{item.value}'", "place one there, or take it off the list")
