"""Resolving a layer's inputs: what each shard reads, what crosses devices, and how many groups follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netspec.errors import Mark, Problem, SpecError
from netspec.planning.shards import Part, Piece, Value
from netspec.spec.types import Connection, LayerSpec


def fail(mark: Mark | None, message: str, remedy: str | None = None) -> SpecError:
    """A SpecError with a single problem."""
    return SpecError([Problem(mark, message, remedy)])


@dataclass(frozen=True, slots=True)
class Reading:
    """One connection as one device reads it."""

    pieces: tuple[Piece, ...]
    ways: int
    """Over how many devices the source is cut where each reader takes its own part; 1 where it reads the whole."""


def find_value(layer: LayerSpec, connection: Connection, values: Mapping[str, Mapping[str, Value]]) -> Value:
    """The value a connection names; SpecError where the layer has no such output."""
    outputs = values[connection.source]
    if connection.output is None:
        return next(iter(outputs.values()))
    if connection.output not in outputs:
        names = ", ".join(f"{connection.source}.{name}" for name in outputs)
        raise fail(
            connection.mark,
            f"{layer.name}: '{connection.source}' has no output '{connection.output}'",
            f"it has {names}",
        )
    return outputs[connection.output]


def read(layer: LayerSpec, connection: Connection, value: Value, device: str) -> Reading:
    """What the shard on ``device`` reads through a connection; SpecError where it would cross without saying so.

    A layer that is split by rows, and one that reads such a layer, takes the rows that it needs: see ``by_rows``.
    """
    if value.layout == "everywhere":
        return Reading((_whole(value.on(device)),), 1)
    if connection.connect == "all":
        return Reading(_all(value, device), 1)
    _check_same(layer, connection, value)
    return Reading((_whole(value.on(device)),), value.ways)


def by_rows(layer: LayerSpec) -> bool:
    """Whether each device of the layer computes its own rows of the batch."""
    return layer.split == "batch" and len(layer.devices) > 1


def check_rows(layer: LayerSpec, connection: Connection, value: Value) -> None:
    """Raise SpecError where a layer split by rows, or one that reads such a layer, cannot read so."""
    ours, theirs = _list(layer.devices), _list(value.devices)
    if by_rows(layer) and value.layout == "replicated":
        raise fail(
            connection.mark,
            f"{layer.name}: each device takes its rows of the batch, but {value.key} is computed whole on {theirs}",
            f"give '{connection.source}' split: batch too, or one device",
        )
    if connection.connect == "all" or value.layout == "everywhere":
        return
    remedy = f"write inputs: {{from: {connection.source}, connect: all}}, or give both the same devices and split"
    if value.layout == "rows" and (not by_rows(layer) or value.devices != layer.devices):
        message = f"{layer.name} on {ours} reads {value.key}, whose rows of the batch are cut over {theirs}, "
        raise fail(connection.mark, f"{message}without saying that it crosses devices", remedy)
    if by_rows(layer) and value.layout != "rows":
        has = f"whose channels are cut over {theirs}" if value.layout == "split" else f"which lies on {theirs}"
        message = f"{layer.name}: each device takes its rows of the batch from {value.key}, {has}, "
        raise fail(connection.mark, f"{message}without saying that it crosses devices", remedy)


def _all(value: Value, device: str) -> tuple[Piece, ...]:
    if value.layout == "replicated":
        near = device if device in value.devices else value.devices[0]
        return (_whole(value.on(near)),)
    return tuple(_whole(part) for part in value.parts)


def _whole(part: Part) -> Piece:
    return Piece(part, 0, part.stop - part.start)


def _check_same(layer: LayerSpec, connection: Connection, value: Value) -> None:
    fits = value.devices == layer.devices
    if value.layout == "replicated":
        fits = set(layer.devices) <= set(value.devices)
    if fits and layer.split == "none" and len(layer.devices) > 1 and value.layout == "split":
        raise fail(
            connection.mark,
            f"{layer.name}: 'split: none' computes the whole layer on each device, but {value.key} is cut over them",
            f"read all of it: {{from: {connection.source}, connect: all}}",
        )
    if not fits:
        raise fail(
            connection.mark,
            f"{layer.name} on {_list(layer.devices)} reads {value.key}, which lies on {_list(value.devices)}, "
            "without saying that it crosses devices",
            f"write inputs: {{from: {connection.source}, connect: all}}, or place both on the same devices",
        )


def _list(devices: Sequence[str]) -> str:
    return " and ".join(devices)


def groups_of(layer: LayerSpec, ways: int) -> tuple[int, int]:
    """(groups of the whole layer, groups of one shard) for a source cut ``ways`` ways; SpecError where uneven."""
    written: Any = layer.attrs.get("groups")
    groups = ways if written is None else int(written)
    if groups % ways:
        raise fail(
            layer.mark_of("groups"),
            f"{layer.name}: groups is {groups}, but the input is cut over {ways} devices",
            f"use a multiple of {ways}, or connect: all",
        )
    apart = len(layer.devices) if layer.split == "channels" else 1
    if ways == 1 and apart > 1 and groups > 1:
        raise fail(
            layer.mark_of("groups"),
            f"{layer.name}: groups is {groups}, but every device reads all channels of the input",
            "leave groups out, or read only the device's own part with connect: same",
        )
    return groups, groups // ways


def join(readings: Sequence[Reading], groups: int) -> tuple[Piece, ...]:
    """Several inputs as one: group g takes the g-th share of each, in the listed order."""
    if len(readings) == 1:
        return readings[0].pieces
    totals = [sum(piece.channels for piece in reading.pieces) for reading in readings]
    return tuple(
        piece
        for g in range(groups)
        for reading, total in zip(readings, totals, strict=True)
        for piece in _cut(reading.pieces, g * total // groups, (g + 1) * total // groups)
    )


def _cut(pieces: Sequence[Piece], start: int, stop: int) -> list[Piece]:
    """Channels ``[start, stop)`` of joined pieces."""
    result, offset = [], 0
    for piece in pieces:
        low, high = max(start - offset, 0), min(stop - offset, piece.channels)
        if low < high:
            result.append(Piece(piece.part, piece.start + low, piece.start + high))
        offset += piece.channels
    return result
