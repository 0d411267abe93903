"""The check that a layer cut over two devices computes what the whole layer computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from netspec.check.compare import Failed, Skipped, agree
from netspec.check.single import Array, Values, gradient_of
from netspec.check.subject import Case, Subject, draw
from netspec.check.writes import Trip, trip
from netspec.contract.naming import Argument, ArgumentRole
from netspec.contract.tensor import Param, Shape, State, Tensor

_WAYS = 2
_MIXES = (
    "a layer that reads several channels for one has ``mixes_channels = True`` and an attribute ``groups`` that is in "
    "``divided``, or says by ``whole_only`` that it is not cut"
)


@dataclass(frozen=True)
class Split:
    """A whole layer and its shards; ``joined``: each shard reads all channels (``connect: all``), not its own."""

    whole: Case
    shards: tuple[Case, ...]
    joined: bool


def check_shards(subject: Subject) -> None:
    """Each half of a layer split over two devices equals that half of the whole layer, random numbers included."""
    if subject.cls.whole_only:
        raise Skipped(f"the layer cannot be cut: {subject.cls.whole_only}")
    if subject.cls.reports:
        raise Skipped("cost layers lie on one device")
    if subject.cls.mixes_channels and not {"groups"} <= set(subject.cls.attrs_schema) & set(subject.cls.divided):
        raise Failed(f"the layer mixes channels without ``groups`` in its attributes and in ``divided``: {_MIXES}")
    splits = [split for case in subject.cases for split in (_split(case, False), _split(case, True)) if split]
    if not splits:
        raise Failed("no example's channels and divided attributes can be halved; add one, or say so by whole_only")
    for split in splits:
        _check_split(subject, split)


def _split(case: Case, joined: bool) -> Split | None:
    cls = case.cls
    counts = [name for name in cls.divided if name != "groups"]
    if joined and not (cls.mixes_channels and counts):
        return None
    attrs = {**case.attrs, **{name: _even(case.attrs[name]) for name in counts}}
    if cls.mixes_channels:
        attrs["groups"] = 1 if joined else _even(attrs["groups"])
    unit = attrs.get("groups", _WAYS) if not joined else 1
    inputs = tuple(_with_channels(tensor, lambda c: -(-c // unit) * unit) for tensor in case.inputs)
    whole = replace(case, attrs=attrs, inputs=inputs)
    if not whole.fits():
        return None
    return Split(whole, tuple(_shard(whole, joined, index) for index in range(_WAYS)), joined)


def _even(count: int) -> int:
    return count if count % _WAYS == 0 else count * _WAYS


def _with_channels(tensor: Tensor, change: Any) -> Tensor:
    if not tensor.dtype.startswith("float"):
        return tensor
    return replace(tensor, shape=(*tensor.shape[:-1], change(tensor.shape[-1])))


def _shard(whole: Case, joined: bool, index: int) -> Case:
    divided = [name for name in whole.cls.divided if not (joined and name == "groups")]
    attrs = {**whole.attrs, **{name: whole.attrs[name] // _WAYS for name in divided}}
    inputs = whole.inputs if joined else tuple(_with_channels(t, lambda c: c // _WAYS) for t in whole.inputs)
    outputs = whole.layer().named_outputs(*whole.inputs)
    channels = next(iter(outputs.values())).shape[-1]
    keys = {"channel_offset": index * channels // _WAYS, "channel_count": channels}
    return replace(whole, attrs=attrs, inputs=inputs, keys=keys)


def _check_split(subject: Subject, split: Split) -> None:
    kind = f"of {_WAYS}, connect: {'all' if split.joined else 'same'}, of the layer with {split.whole}"
    axes = _axes(split)
    values = draw(split.whole)
    whole = trip(split.whole.on(subject.device, dtype="float64"), values)
    parts = [
        _run_shard(subject, split, index, _cut_all(values, axes, index), f"shard {index} {kind}")
        for index in range(_WAYS)
    ]
    for index, part in enumerate(parts):
        for name, wanted in _cut_all(_compared(whole, split), axes, index).items():
            _check_part(subject, split, name, part.written[name], wanted, f"shard {index} {kind}")
    if split.joined:
        for name in _input_gradients(split, whole):
            total = np.sum([part.backward[name] for part in parts], axis=0)
            agree(name, total, whole.backward[name], f"the shards' sum differs from the whole ({split.whole})")


def _run_shard(subject: Subject, split: Split, index: int, values: Values, where: str) -> Trip:
    shard = split.shards[index]
    single = shard.on(subject.device, dtype="float64")
    for name, value in values.items():
        own = single.argument(name).tensor
        if single.t[own].shape != value.shape:  # a gradient's and a next value's too
            raise _misfit(split, own, single.t[own].shape, value.shape, where)
    return trip(single, values)


def _check_part(subject: Subject, split: Split, name: str, got: Array, wanted: Array, where: str) -> None:
    if got.shape != wanted.shape:
        raise _misfit(split, name, got.shape, wanted.shape, where)
    try:
        agree(name, got, wanted, f"it differs from the whole layer's: {where}")
    except Failed as failed:
        raise Failed(f"{failed}{_mixing(subject, split)}") from failed


def _first_half(array: Array) -> Array:
    """The channels of the first shard."""
    return array[..., : array.shape[-1] // _WAYS]


def _misfit(split: Split, name: str, got: Shape, wanted: Shape, where: str) -> Failed:
    """A tensor of a shard is no half of the whole one; the message names the attribute that may be why."""
    counts = {one: value for one, value in split.whole.attrs.items() if type(value) is int}
    sizes = {size for size, half in zip(got, wanted, strict=False) if size != half}
    meant = [one for one, value in counts.items() if value in sizes and one not in split.whole.cls.divided]
    fewer = any(size * _WAYS == half for size, half in zip(got, wanted, strict=False))
    whole = "or say by ``whole_only`` that the layer is not cut"
    remedy = f"a size follows from the inputs or from an attribute in ``divided``, {whole}"
    if meant:
        remedy = f"if '{meant[0]}' counts something of the whole layer, name it in ``divided``, {whole}"
    elif fewer and not split.whole.cls.mixes_channels:
        remedy = _MIXES
    return Failed(f"'{name}' is {got}, a half of the whole layer's is {wanted}: {where}; {remedy}")


def _mixing(subject: Subject, split: Split) -> str:
    """The remedy where a shard differs because channels of y depend on the other shard's channels; "" for no such."""
    if split.whole.cls.mixes_channels:
        return ""
    values = draw(split.whole)
    single = split.whole.on(subject.device, dtype="float64")
    names = [name for name in single.t.names("input") if single.t[name].dtype.startswith("float")]
    own = {name: 0.5 * values[name] for name in names}
    for name, array in own.items():
        _first_half(array)[...] = _first_half(values[name])
    before, after = single.forward(values), single.forward({**values, **own})
    outputs = single.t.output_names
    changed = [name for name in outputs if (_first_half(before[name]) != _first_half(after[name])).any()]
    if not changed:
        return ""
    return f"; channels of '{changed[0]}' depend on channels of the other shard: {_MIXES}"


def _axes(split: Split) -> Mapping[str, int]:
    """Where tensors, gradients and next states are cut; those left out are the same for every shard."""
    layer, inputs = split.whole.layer(), split.whole.inputs
    stored: dict[str, Param | State] = {**layer.params(*inputs), **layer.state(*inputs)}
    fixed = [name for name, one in stored.items() if one.axis is None]
    if fixed:
        raise Skipped(f"'{fixed[0]}' has no axis to be cut along, so the layer cannot be split")
    axes = {name: one.axis for name, one in stored.items() if one.axis is not None}
    axes |= {name: -1 for name in layer.named_outputs(*inputs)}
    if not split.joined:
        names = layer.input_names(len(inputs))
        axes |= {name: -1 for name, t in zip(names, inputs, strict=True) if t.dtype.startswith("float")}
    roles: tuple[ArgumentRole, ...] = ("value", "gradient", "next")
    return {str(Argument(name, role)): axis for role in roles for name, axis in axes.items()}


def _cut_all(values: Values, axes: Mapping[str, int], index: int) -> dict[str, Array]:
    for name, value in values.items():
        if name in axes and value.shape[axes[name]] % _WAYS:
            raise Failed(
                f"'{name}' is {value.shape} and cut along axis {axes[name]}, which two devices cannot halve: its size "
                "must follow from the channels or from an attribute in ``divided``; or give it ``axis=None``, or say "
                "by ``whole_only`` that the layer cannot be cut"
            )
    return {
        name: np.split(value, _WAYS, axes[name])[index] if name in axes else value for name, value in values.items()
    }


def _input_gradients(split: Split, whole: Trip) -> list[str]:
    names = split.whole.cls.input_names(len(split.whole.inputs))
    return [name for name in map(gradient_of, names) if name in whole.backward]


def _compared(whole: Trip, split: Split) -> dict[str, Array]:
    """What a shard must have its half of: all that was written but saved tensors and summed gradients."""
    layer, inputs = split.whole.layer(), split.whole.inputs
    left_out = {*layer.saved(*inputs), *(_input_gradients(split, whole) if split.joined else ())}
    return {name: array for name, array in whole.written.items() if name not in left_out}
