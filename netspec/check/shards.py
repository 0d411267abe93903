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
from netspec.contract.tensor import Param, State, Tensor

_WAYS = 2


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
        _run_shard(subject, shard, _cut_all(values, axes, index), f"shard {index} {kind}")
        for index, shard in enumerate(split.shards)
    ]
    for index, part in enumerate(parts):
        for name, wanted in _cut_all(_compared(whole, split), axes, index).items():
            _check_part(name, part.written[name], wanted, f"shard {index} {kind}")
    if split.joined:
        for name in _input_gradients(split, whole):
            total = np.sum([part.backward[name] for part in parts], axis=0)
            agree(name, total, whole.backward[name], f"the shards' sum differs from the whole ({split.whole})")


def _run_shard(subject: Subject, shard: Case, values: Values, where: str) -> Trip:
    single = shard.on(subject.device, dtype="float64")
    for name, tensor in single.named().items():
        if name in values and values[name].shape != tensor.shape:
            raise Failed(f"'{name}' is {tensor.shape}, a half of the whole layer's is {values[name].shape}: {where}")
    return trip(single, values)


def _check_part(name: str, got: Array, wanted: Array, where: str) -> None:
    if got.shape != wanted.shape:
        raise Failed(
            f"'{name}' is {got.shape}, a half of the whole layer's is {wanted.shape}: {where}; a layer that reads "
            "several channels for one declares mixes_channels and groups, or whole_only"
        )
    agree(name, got, wanted, f"it differs from the whole layer's: {where}")


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
