"""The check that halves of a batch, which replicas have, are what the whole batch makes of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from netspec.check.compare import Skipped, agree
from netspec.check.single import Array, SingleLayer, gradient_of
from netspec.check.subject import Case, Subject, draw
from netspec.check.writes import trip
from netspec.contract.tensor import Shape

_WAYS = 2


def check_replicas(subject: Subject) -> None:
    """Each half of a batch gives what the whole batch gives of it, random numbers included."""
    cls = subject.cls
    if cls.reports:
        raise Skipped("cost layers take means over the images of a batch")
    if cls.over_images:
        raise Skipped(f"the layer computes {cls.over_images} over the images of a batch, and says so")
    for case in subject.cases:
        whole = case.reshaped(lambda shape: (-(-shape[0] // _WAYS) * _WAYS, *shape[1:]))
        if whole.fits():
            _check_halves(subject, whole)


def _check_halves(subject: Subject, whole: Case) -> None:
    exact, values = whole.on(subject.device, dtype="float64"), draw(whole)
    wanted, names = trip(exact, values).written, list(_of_images(exact))
    for index in range(_WAYS):
        half = whole.reshaped(_half)
        first = next(iter(half.layer().named_outputs(*half.inputs).values()))
        half = replace(half, keys={"channel_offset": index * first.size})
        own = {name: _part(value, index) if name in names else value for name, value in values.items()}
        got = trip(half.on(subject.device, dtype="float64"), own).written
        for name in (one for one in names if one in got):
            rule = f"half {index} of the batch gives another value than the whole does ({whole}); {_why(exact)}"
            with exact.blamed(name):
                agree(name, got[name], _part(wanted[name], index), rule)


def _half(shape: Shape) -> Shape:
    return (shape[0] // _WAYS, *shape[1:])


def _part(array: Array, index: int) -> Array:
    size = len(array) // _WAYS
    return array[index * size : (index + 1) * size]


def _of_images(single: SingleLayer) -> Iterator[str]:
    """Inputs and outputs, whose first axis is the batch, and their gradients."""
    for name in (*single.input_names, *single.t.output_names):
        yield from (name, gradient_of(name))


def _why(single: SingleLayer) -> str:
    drawing = [one for direction in single.directions for one in single.passes(direction) if "key" in one.scalars]
    if not drawing:
        return "what the layer computes over the images of a batch is named by ``over_images``"
    if any("channel_offset" not in one.scalars for one in drawing):
        return "random numbers are drawn by the element's place in the whole tensor: add channel_offset to the index"
    return "the number of element i is i // channels * channel_count + channel_offset + i % channels"
