"""The sections ``inputs`` and ``data``; ``train`` has a file of its own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from netspec.contract.attrs import boolean, choice, integer, number
from netspec.contract.values import fits
from netspec.data.known_sources import source_types
from netspec.data.settings import VIEW_COUNTS
from netspec.errors import Mark
from netspec.spec.augment_section import read_augment
from netspec.spec.fields import Attrs, Fields, Types, complete
from netspec.spec.layer_section import check_name
from netspec.spec.nodes import Entry, Map, Node, Scalar
from netspec.spec.problems import Report
from netspec.spec.types import DataSpec, InputSpec
from netspec.spec.wording import describe

_data = DataSpec()

INPUT: Attrs = {
    "shape": {
        "type": "array",
        "items": {"type": "integer", "minimum": 1},
        "maxItems": 4,
        "default": [],
        "description": "Shape without the batch axis, channels last; a label has none.",
    },
    "dtype": choice("float32", "int32", description="Type of the numbers.", default="float32"),
}
DATA: Attrs = {
    "resize": integer("Length of the short side in pixels before the crop.", default=None, minimum=1, maximum=4096),
    "crop": integer("Side of the square that is cut; null: the network input's.", default=None, minimum=1),
    "mirror": boolean("Mirror training images at random.", default=_data.mirror),
    "mean": choice("image", "channel", "none", description="What is subtracted: the mean image, or one mean a channel.",
                   default=_data.mean),
    "scale": number("Factor after the mean is subtracted.", default=_data.scale),
    "views": {"type": "integer", "enum": [*VIEW_COUNTS], "default": _data.views,
              "description": "Crops an image is evaluated on: centre, that and its mirror image, or the paper's ten."},
    "split": number("Share of each class that is held out where the source has no validation images; 0: none. null: "
                    "none, but a tenth with --data.", default=None, minimum=0, below=1),
    "split_seed": integer("Decides which images are held out; train.seed does not.", default=_data.split_seed,
                          minimum=0),
    "classes": integer("How many there are, for layers with 'units: classes', until the images are looked at.",
                       default=None, minimum=1),
    "resident": {"anyOf": [{"type": "boolean"}, {"type": "string", "enum": ["auto"]}], "default": _data.resident,
                 "description": "Keep the decoded images on the devices. auto: on GPUs, where they take at most a "
                                "quarter of the free memory and the batches come out the same to the byte."},
    "workers": integer("Processes that decode; null: by the number of cores.", default=None, minimum=0),
}  # fmt: skip


def read_inputs(node: Node, report: Report) -> tuple[dict[str, InputSpec], dict[str, Mark]]:
    """The network's inputs in order, and where their values stand."""
    fields = Fields(report)
    body = fields.as_map(node, "inputs")
    found: dict[str, InputSpec] = {}
    for name, entry in body.entries.items() if body else ():
        check_name(Scalar(name, name, entry.mark), "network input", fields)
        value = fields.as_map(entry.value, f"inputs.{name}")
        if value is not None:
            fields.refuse_unknown(value, INPUT, f"inputs.{name}")
            values = fields.read(value, INPUT, f"inputs.{name}")
            found[name] = InputSpec(name, values.get("shape", ()), values.get("dtype", "float32"), entry.mark)
    if body is not None and not body.entries:
        fields.note(node.mark, "'inputs' is empty", "as in image: {shape: [224, 224, 3]}")
    return found, fields.marks


def read_data(node: Map, report: Report) -> tuple[DataSpec, dict[str, Mark]]:
    """The ``data`` section."""
    fields = Fields(report)
    fields.refuse_unknown(node, [*DATA, "source", "augment"], "data")
    values = fields.read(node.without("source", "augment"), DATA, "data")
    if values.get("scale") == 0:
        fields.note(fields.marks["data.scale"], "'data.scale' must not be 0: all images would be alike")
    values["augment"], values["mirror"] = read_augment(node, values.get("mirror", _data.mirror), fields)
    values["source"] = _typed(node.get("source"), source_types(), "source", _data.source, fields, "data")
    _tell_source(values, fields)
    return DataSpec(**values), fields.marks


def _tell_source(values: dict[str, Any], fields: Fields) -> None:
    """Let a source that draws its images draw as many classes as ``data.classes`` says, unless it says it itself."""
    classes, source = values.get("classes"), values["source"]
    cls = source_types().get(source.get("type", ""))
    if classes is None or cls is None or "classes" not in cls.attrs:
        return
    values["classes"] = None
    mark, kind = fields.marks["data.classes"], source["type"]
    if not fits(schema := cls.attrs["classes"], classes):
        fields.note(mark, f"'{kind}' has {describe(schema)} of classes, got {classes:,}")
    elif "data.source.classes" not in fields.marks:
        values["source"] = {**source, "classes": classes}
    elif source.get("classes") != classes:
        fields.note(mark, f"'data.classes' is {classes:,}, but '{kind}' draws {source.get('classes')}", "say it once")


def expand_source(root: Map) -> Map:
    """``source: generated`` is short for ``source: {type: generated}``."""
    data = root.get("data")
    source = data.get("source") if isinstance(data, Map) else None
    if not isinstance(data, Map) or not isinstance(source, Scalar) or not isinstance(source.value, str):
        return root
    long = Map({"type": Entry(source.mark, source)}, source.mark)
    data = data.replace({"source": Entry(data.entries["source"].mark, long)})
    return root.replace({"data": Entry(root.entries["data"].mark, data)})


def anchored(root: Map, folder: Path) -> Map:
    """The tree with the paths of its data source made absolute: they are relative to the ``folder`` of the spec."""
    data = root.get("data")
    source = data.get("source") if isinstance(data, Map) else None
    if not isinstance(data, Map) or not isinstance(source, Map):
        return root
    paths = {key: entry for key, entry in source.entries.items() if _is_path(key)}
    found = {key: Entry(entry.mark, absolute(entry.value, folder)) for key, entry in paths.items()}
    data = data.replace({"source": Entry(data.entries["source"].mark, source.replace(found))})
    return root.replace({"data": Entry(root.entries["data"].mark, data)})


def _is_path(key: str) -> bool:
    """Whether a source's key names a file; of any type, since the type may stand in another spec."""
    from netspec.data.known_sources import source_types

    return any(cls.attrs.get(key, {}).get("x-netspec") == "path" for cls in source_types().values())


def absolute(node: Node, folder: Path) -> Node:
    """A path made absolute, from a ``folder`` where it is relative; whatever else is written, as it is."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str) or not node.value:
        return node
    return Scalar(str((folder / os.path.expanduser(node.value)).absolute()), node.text, node.mark)


def _typed(written: Node | None, types: Types, key: str, default: Any, fields: Fields, section: str) -> dict[str, Any]:
    if written is None:
        return complete(default, types)
    return fields.typed(written, types, key, f"{section}.{key}") or {}
