"""Names that look like something else: whatever layers, inputs and devices are called, the same bits are learned.

NETSPEC_NAMES sets how many networks are planned and trained (``-m slow``: 100).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from nets import BATCH, RATES, batch, network, same_bits
from random_nets import SIDE, Names, nasty, write

from netspec.contract.kernel import PHASES
from netspec.planning import Plan, build, from_plain, to_plain
from netspec.program import lower
from netspec.runners.execution.bound import BoundProgram
from netspec.runners.execution.session import Session
from netspec.spec import loads
from netspec.spec.types import Spec

COUNT = int(os.environ.get("NETSPEC_NAMES", "3"))
MANY = [pytest.param(seed, marks=pytest.mark.slow) for seed in range(COUNT, 100)]

PAIR = """
    netspec: 1
    name: pair
    inputs:
      image: {shape: [4, 4, 3]}
      label: {dtype: int32}
    layers:
      - {name: first, type: conv, filters: 4, size: 3, pad: 1, inputs: image, init: {type: gaussian, std: 0.3}}
      - {name: second, type: conv, filters: 6, size: 4, init: {type: gaussian, std: 0.3}}
      - {name: fc, type: dense, units: 5, init: {type: gaussian, std: 0.3}}
      - {name: loss, type: softmax_loss, inputs: [fc, label]}
    train: {batch: 6, seed: 5}
    data: {mean: none, scale: 0.01}
"""


@pytest.mark.parametrize(("first", "second"), [("d_c", "c"), ("c", "d_c"), ("c", "dc"), ("d_fc", "next_fc")])
def test_a_layer_called_like_a_gradient_has_a_parameter_of_its_own(first: str, second: str) -> None:
    plain = trained(network(PAIR), (4, 4, 3))
    renamed = network(PAIR, **{"name: first": f"name: {first}", "name: second": f"name: {second}"})
    same_bits(trained(renamed, (4, 4, 3), names={first: ("first", 0, 0), second: ("second", 0, 0)}), plain)


@pytest.mark.parametrize("name", ["counters", "rates", "flags", "finite", "main", "y"])
def test_an_input_may_be_called_like_a_buffer_of_every_plan(name: str) -> None:
    renamed = trained(network(PAIR.replace("image", name)), (4, 4, 3), image=name)
    plain = trained(network(PAIR), (4, 4, 3))
    same_bits({**renamed, "image.mean": renamed[f"{name}.mean"]}, {**plain, f"{name}.mean": plain["image.mean"]})


@pytest.mark.parametrize("seed", [*range(2 * COUNT), *MANY[COUNT:]])
def test_a_plan_is_the_same_up_to_names(seed: int) -> None:
    names = nasty(seed)
    for plain, other in zip(write(seed), write(seed, names), strict=True):
        for phase in PHASES:
            one, two = (build(loads(text, "random.yaml"), phase) for text in (plain, other))
            assert shape_of(one) == shape_of(two)
            again = from_plain(Plan, json.loads(json.dumps(to_plain(two))))
            assert (again.buffers, again.steps, again.reports) == (two.buffers, two.steps, two.reports)
            assert to_plain(again) == to_plain(two)
            kinds, teams = dict.fromkeys(two.devices, "cpu"), dict.fromkeys(two.devices, 1)
            to_plain(lower(two, kinds, teams))  # two identities of one text raise


def shape_of(plan: Plan) -> list[Any]:
    """A plan with numbers in the place of identities."""
    buffers = {key: number for number, key in enumerate(plan.buffers)}
    steps = {step.key: number for number, step in enumerate(plan.steps)}
    devices = {device: number for number, device in enumerate(plan.devices)}
    return [
        [(buffer.role, devices[buffer.device], buffer.shape, buffer.dtype) for buffer in plan.buffers.values()],
        [
            (
                step.op,
                devices[step.device],
                step.queue,
                [(str(one), buffers[r.buffer], r.axis, r.start, r.stop) for one, r in step.args.items()],
                [steps[key] for key in step.after],
            )
            for step in plan.steps
        ],
        [buffers[key] for key in plan.reports],
        buffers.get(plan.answer),  # type: ignore[call-overload]
    ]


@pytest.mark.parametrize("seed", [*range(COUNT), *MANY])
def test_a_network_of_nasty_names_learns_the_same_bits(seed: int) -> None:
    names = nasty(seed)
    plain, other = loads(write(seed)[0], "random.yaml"), loads(write(seed, names)[0], "random.yaml")
    given = {new.name: (old.name, 0, 0) for old, new in zip(plain.layers, other.layers, strict=True)}
    expected = trained(plain, (SIDE, SIDE, 3), runner="serial")
    for runner in ("serial", "local"):
        learned = trained(other, (SIDE, SIDE, 3), names.image, names.label, names=given, runner=runner)
        mean = learned.pop(f"{names.image}.mean")
        same_bits({**learned, "image.mean": mean}, expected)


def trained(
    spec: Spec, shape: tuple[int, ...], image: str = "image", label: str = "label", **options: Any
) -> dict[str, Any]:
    """All tensors after two iterations of training; no two buffers lie over one another but in an arena."""
    devices = [f"cpu:{number}" for number, _ in enumerate(spec.devices)]
    with Session(spec, devices, phases=("train",), **options) as session:
        check_apart(session.bound("train"))
        for iteration in range(2):
            data = batch(iteration, shape)
            arrays = {image: data["image"], label: data["label"]}
            assert session.train(arrays, iteration, BATCH, RATES).finite
        return session.store.tensors()


def check_apart(bound: BoundProgram) -> None:
    """Memory that is no arena's belongs to one buffer; in an arena the race check has seen to it."""
    own = {key: array for key, array in bound.arrays.items() if key not in bound.program.offsets}
    places = sorted((*np.lib.array_utils.byte_bounds(array), str(key)) for key, array in own.items())
    assert not [(one, two) for (_, stop, one), (start, _, two) in pairwise(places) if start < stop]
    assert {key: tuple(array.shape) for key, array in bound.arrays.items()} == {
        key: buffer.shape for key, buffer in bound.program.buffers.items()
    }


def test_the_names_are_nasty() -> None:
    names: set[str] = set()
    for seed in range(40):
        given: Names = nasty(seed)
        spec = loads(write(seed, given)[0], "random.yaml")
        layers: Mapping[str, Any] = {layer.name: layer for layer in spec.layers}
        names |= {f"d_{name}" for name in layers if f"d_{name}" in layers}
        names |= {"device" for device in spec.devices if device in layers}
        names |= {"input" for name in spec.inputs if name in ("counters", "rates", "finite", "flags")}
    assert {"device", "input"} < names and len(names) > 10
