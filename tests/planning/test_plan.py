"""Plans: the figures of AlexNet, the two ways to write a network, groups, races."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from nets import NAMES, ONE_DEVICE, SHARD_BY_SHARD, TWO_TOWERS, network

from netspec.planning import Plan, RaceError, Region, build, check, check_races, from_plain, to_plain
from netspec.planning.identities import of_layer
from netspec.planning.order import clocks_of
from netspec.spec import load


@pytest.fixture(scope="module")
def alexnet() -> Plan:
    return build(load("alexnet"), "train", 128)


def test_alexnet_has_the_parameters_of_the_paper(alexnet: Plan) -> None:
    assert sum(shard.parameters for shard in alexnet.shards) == 60_965_224
    dense = sum(shard.parameters for shard in alexnet.shards if shard.type == "dense")
    assert dense / 60_965_224 == pytest.approx(0.962, abs=5e-4)


def test_alexnet_crosses_in_four_places_with_the_known_bytes(alexnet: Plan) -> None:
    assert {crossing.layer for crossing in alexnet.crossings} == {"conv3", "fc6", "fc7", "fc8"}
    assert sum(crossing.bytes for crossing in alexnet.crossings) == 60_030_976
    forward = [c.bytes for c in alexnet.crossings if c.direction == "forward"]
    assert sorted(forward) == sorted([11_075_584, 2_359_296, 1_048_576] * 2 + [1_048_576])


def test_alexnet_has_the_known_floating_point_operations(alexnet: Plan) -> None:
    forward = sum(shard.forward_flops for shard in alexnet.shards if shard.type in ("conv", "dense")) / 128
    both = sum(
        shard.forward_flops + shard.backward_flops for shard in alexnet.shards if shard.type in ("conv", "dense")
    )
    assert forward == 2 * 724_406_816
    assert both / 128 == 6 * 724_406_816 - 2 * 105_415_200  # no gradient of the image


def test_a_plan_survives_json(alexnet: Plan) -> None:
    again = from_plain(Plan, json.loads(json.dumps(to_plain(alexnet))))
    assert to_plain(again) == to_plain(alexnet)
    assert again.steps == alexnet.steps


def test_eval_and_predict_need_no_gradients_and_predict_no_label() -> None:
    spec = load("alexnet")
    for phase in ("eval", "predict"):
        plan = build(spec, phase, 4)
        assert not {"backward", "update", "finite"} & {step.op for step in plan.steps}
        assert not any(buffer.role in ("gradient", "solver state") for buffer in plan.buffers.values())
    assert not any(key.of.input == "label" for key in plan.buffers)
    assert plan.answer == of_layer("loss", "probs", "activation", "left")


def test_both_ways_to_write_a_network_give_the_same_plan_up_to_names() -> None:
    towers, shards = build(network(TWO_TOWERS), "train"), build(network(SHARD_BY_SHARD), "train", names=NAMES)
    assert [(s.op, s.device, s.queue, s.flops, s.bytes) for s in sorted_steps(towers)] == [
        (s.op, s.device, s.queue, s.flops, s.bytes) for s in sorted_steps(shards)
    ]
    for role in {buffer.role for buffer in towers.buffers.values()}:
        sizes = [sorted((b.device, b.shape) for b in p.buffers.values() if b.role == role) for p in (towers, shards)]
        assert sizes[0] == sizes[1], role
    logical = [{(b.logical.key, b.logical.start) for b in p.buffers.values() if b.logical} for p in (towers, shards)]
    assert logical[0] == logical[1]
    assert sum(c.bytes for c in towers.crossings) == sum(c.bytes for c in shards.crossings)


def sorted_steps(plan: Plan) -> list:
    return sorted(plan.steps, key=lambda s: (s.op, s.device, s.queue, s.flops, s.bytes))


def test_one_device_with_groups_has_the_same_parameters() -> None:
    one, two = (build(network(text), "train") for text in (ONE_DEVICE, TWO_TOWERS))
    shapes = [{b.logical.key: b.logical.shape for b in p.buffers.values() if b.logical} for p in (one, two)]
    assert shapes[0] == shapes[1]
    assert one.initial == two.initial  # fans too: what xavier draws does not depend on the devices
    assert not one.crossings


def test_steps_wait_only_for_what_nothing_else_implies(alexnet: Plan) -> None:
    clocks = clocks_of(alexnet.steps)
    for position, step in enumerate(alexnet.steps):
        for key in step.after:
            without = replace(step, after=tuple(other for other in step.after if other != key))
            number = next(n for n, other in enumerate(alexnet.steps) if other.key == key)
            assert not clocks_of((*alexnet.steps[:position], without)).precedes(number, position)
            assert clocks.precedes(number, position)


def test_every_wait_is_needed_for_the_race_check() -> None:
    """Planting a race: take away any one dependency and the check must name it."""
    plan = build(network(TWO_TOWERS), "train")
    planted = 0
    for position, step in enumerate(plan.steps):
        for key in step.after:
            steps = list(plan.steps)
            steps[position] = replace(step, after=tuple(other for other in step.after if other != key))
            with pytest.raises(RaceError):
                check_races(steps)
            planted += 1
    assert planted > 10


def test_a_race_names_both_steps() -> None:
    plan = build(network(TWO_TOWERS), "train")
    fetch = next(step for step in plan.steps if step.op == "copy" and step.bytes > 4)
    steps = [replace(step, after=()) if step is fetch else step for step in plan.steps]
    with pytest.raises(RaceError, match=fetch.name):
        check_races(steps)


def test_regions_of_one_axis_meet_only_where_they_overlap() -> None:
    a, b = (of_layer(layer, "y", "activation", "left") for layer in "ab")
    assert not Region(a, 1, 0, 4).meets(Region(a, 1, 4, 8))
    assert Region(a, 1, 0, 5).meets(Region(a, 1, 4, 8))
    assert Region(a, 0, 0, 1).meets(Region(a, 1, 4, 8))
    assert Region(a).meets(Region(a, 1, 4, 8))
    assert not Region(a).meets(Region(b))


@pytest.mark.parametrize("name", ["alexnet", "alexnet-2012", "alexnet-one-device", "cifar10-quick", "quickstart"])
def test_shipped_specs_plan_in_all_phases(name: str) -> None:
    check(load(name))
