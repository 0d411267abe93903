"""A proposal of where the layers of a network lie: cut by channels where the function stays the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from netspec.errors import NetspecError, printable
from netspec.registry import layer_types


def cut_over(layers: Sequence[Mapping[str, Any]], devices: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """The layers with connections and, where it is not their input's, ``device``; lines on what could not be cut.

    A layer with filters or units is cut, and reads all that is there, or with groups its own half; what treats each
    channel alone stays where its input lies; all else, costs too, lies whole on the first device. Raises NetspecError
    where no layer can be cut.
    """
    cut: dict[str, bool] = {}
    placed, whole = [], []
    for number, layer in enumerate(layers):
        readers = [one for one in layers[number + 1 :] if layer["name"] in one["inputs"]]
        is_last = any(layer_types()[one["type"]].reports for one in readers)
        is_cut, connect = _place(layer, cut, len(devices), is_last)
        cut[layer["name"]] = is_cut
        sources = [_connected(one, cut, connect, is_cut) for one in layer["inputs"]]
        inherited = cut.get(layer["inputs"][0].partition(".")[0])
        device = {"device": list(devices) if is_cut else devices[0]} if inherited != is_cut else {}
        placed.append({"name": layer["name"], "type": layer["type"], **device, **layer, "inputs": sources})
        if not is_cut and _counted(layer) and not is_last:
            whole.append(layer["name"])
    if len(devices) > 1 and not any(cut.values()):
        raise NetspecError(f"--devices {','.join(map(printable, devices))}: no layer divides by {len(devices)}")
    notes = [f"on {devices[0]} alone, since they do not divide: {', '.join(whole)}"] if whole else []
    return placed, notes


def _counted(layer: Mapping[str, Any]) -> list[str]:
    return [key for key in layer_types()[layer["type"]].divided if key != "groups" and key in layer]


def _place(layer: Mapping[str, Any], cut: Mapping[str, bool], count: int, is_last: bool) -> tuple[bool, str]:
    """Whether the layer is cut, and how it reads."""
    cls, sources = layer_types()[layer["type"]], [one.partition(".")[0] for one in layer["inputs"]]
    apart = all(cut.get(source, False) for source in sources)
    groups = int(layer.get("groups") or 1)
    if counted := _counted(layer):
        even = not is_last and all(layer[key] % count == 0 for key in counted)
        if groups == 1:
            return even, "all"
        return even and apart and groups % count == 0, "same"
    if cls.mixes_channels:
        return apart and groups % count == 0 and groups > 1, "same"
    return cls.channelwise and apart and not cls.whole_only, "same"


def _connected(source: str, cut: Mapping[str, bool], connect: str, is_cut: bool) -> Any:
    """A connection that says so where it crosses devices."""
    if source not in cut or not (cut[source] or is_cut) or (cut[source] and is_cut and connect == "same"):
        return source
    return {"from": source, "connect": "all"}
