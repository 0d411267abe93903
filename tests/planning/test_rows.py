"""Plans of layers split by rows: what crosses, to the byte; what lies where; what the race check sees."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from math import prod

import pytest
from layer_files import forget
from nets import trick

from netspec.errors import SpecError
from netspec.graph.view import view
from netspec.planning import RaceError, build, check_races
from netspec.planning.plan import Plan
from netspec.program import lower
from netspec.registry import load_plugin
from netspec.report.summary import summarise
from netspec.spec import load
from netspec.spec.types import Spec

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")


def weird(devices: str = "left right", *sets: str) -> Spec:
    names = devices.split()
    listed = f"[{', '.join(names)}]"
    placed = (f"devices={listed}", f"layers.conv1.device={listed}", f"layers.fc8.device={names[0]}")
    return load("alexnet-weird-trick", (*placed, *sets))


@pytest.fixture(scope="module", params=["left right", "a b c d"])
def plan(request: pytest.FixtureRequest) -> Plan:
    return build(weird(request.param))


def received(plan: Plan, layer: str, *directions: str) -> dict[str, int]:
    """Bytes that each device receives for a layer's connections."""
    found: dict[str, int] = defaultdict(int)
    for one in plan.crossings:
        if one.layer == layer and one.direction in directions:
            found[one.to_device] += one.bytes
    return found


def test_each_device_receives_what_the_paper_says(plan: Plan) -> None:
    """2 (k - 1) b (inputs) 4 for fc6, b rows on each device: activations forward, their gradients back."""
    count = len(plan.devices)
    wanted = 2 * (count - 1) * (256 // count) * 9216 * 4
    assert received(plan, "fc6", "forward", "backward") == dict.fromkeys(plan.devices, wanted)


def test_parameters_move_once_each_way(plan: Plan) -> None:
    """2 (k - 1) times their bytes: a gradient from each other device, and the parameter back."""
    count = len(plan.devices)
    for layer in CONVOLUTIONS:
        nbytes = 4 * next(shard.parameters for shard in plan.shards if shard.layer == layer)
        for direction in ("backward", "update"):
            assert sum(received(plan, layer, direction).values()) == (count - 1) * nbytes


def test_crossings_are_the_steps_own_bytes(plan: Plan) -> None:
    flags = 4 * sum(step.op == "copy" and step.bytes == 4 for step in plan.steps)
    assert sum(one.bytes for one in plan.crossings) + flags == sum(step.bytes for step in plan.steps)


def test_each_parameter_is_updated_once_and_counted_once(plan: Plan) -> None:
    whole = build(load("alexnet-torchvision"))
    assert plan.initial.keys() == whole.initial.keys()
    updated = [step.key.target.of for step in plan.steps if step.op == "update" and step.key.target]
    assert {key for key in updated if key.layer in CONVOLUTIONS} == {
        key for key in whole.initial if key.layer in CONVOLUTIONS and not key.slot
    }
    momentum = [buffer for buffer in plan.buffers.values() if buffer.role == "solver state"]
    assert sum(prod(buffer.shape) for buffer in momentum) == 61_100_840
    assert summarise(plan, []).parameters == summarise(whole, []).parameters == 61_100_840
    assert summarise(plan, []).neurons == summarise(whole, []).neurons


def test_updates_are_shared_out(plan: Plan) -> None:
    held: dict[str, int] = defaultdict(int)
    for step in plan.steps:
        if step.op == "update" and step.key.target and step.key.target.of.layer in CONVOLUTIONS:
            held[step.device] += plan.buffers[step.key.target].nbytes
    assert len(held) == len(plan.devices)
    assert max(held.values()) <= sum(held.values()) / len(held) + 884_992 * 4


def test_inputs_bring_each_device_its_rows_alone(plan: Plan) -> None:
    rows = 256 // len(plan.devices)
    raw = [buffer for key, buffer in plan.buffers.items() if key.of.input == "image" and key.of.tensor == "uint8"]
    assert [buffer.shape for buffer in raw] == [(rows, 224, 224, 3)] * len(plan.devices)
    feeds = [step for step in plan.steps if step.op == "feed" and step.key.input == "image"]
    assert [step.attrs["rows"] for step in feeds] == [[n * rows, (n + 1) * rows] for n in range(len(plan.devices))]
    labels = [buffer.shape for key, buffer in plan.buffers.items() if key.of.input == "label"]
    assert labels == [(256,)]


def test_an_input_that_is_read_whole_too_is_brought_whole() -> None:
    fc6 = "- {name: fc6, type: dense, inputs: image, units: 5, device: w0}"
    lines = [fc6, "- {name: sum, type: sum, inputs: [fc5, fc6]}"]
    more = "\n  ".join([*lines, "- {name: loss"])
    plan = build(trick(**{"- {name: loss": more, "[fc5, label]": "[sum, label]"}))
    shapes = {str(key): buffer.shape for key, buffer in plan.buffers.items() if key.of.input == "image"}
    assert shapes["image@w0"] == (12, 9, 9, 3) and shapes["image@w0.rows0-6"] == (6, 9, 9, 3)
    assert shapes["image@w1"] == (6, 9, 9, 3)


@pytest.mark.parametrize("what", ["y@", "conv1.d_weight@", "conv1.weight@"])
def test_an_exchange_that_waits_for_nothing_is_a_race(what: str) -> None:
    plan = build(trick())
    rows = [s for s in plan.steps if s.op == "copy" and s.after and what in s.name and "finite" not in s.name]
    assert rows
    for one in rows:
        with pytest.raises(RaceError, match="nothing orders them"):
            check_races([replace(step, after=()) if step.key == one.key else step for step in plan.steps])


def test_the_rows_of_any_batch_are_covered_outside_training() -> None:
    spec = weird("a b c d")
    for batch in (1, 3, 5, 256):
        plan = build(spec, "predict", batch)
        shapes = [one.outputs["y"][0] for one in plan.shards if one.layer == "pool5"]
        assert shapes == [-(-batch // 4)] * 4
        filled = [step.args for step in plan.steps if step.op == "copy" and "drop6.y@a.rows" in step.name]
        rows = [next(region for one, region in args.items() if one.tensor == "target") for args in filled]
        ranges = [(r.start, r.stop) if r.axis == 0 else (0, batch) for r in rows]
        held = [n for start, stop in sorted(ranges) for n in range(start, stop)]
        assert held == list(range(batch)) if batch > 1 else not held  # a has the only row itself
        lower(plan, dict.fromkeys(plan.devices, "cpu"), dict.fromkeys(plan.devices, 1))


def test_pictures_tell_the_rows() -> None:
    shown = view(build(weird()))
    nodes = {str(node.key): node for node in shown.nodes}
    assert nodes["conv1@right"].details[0] == "128 rows"
    assert nodes["image@left"].shape.startswith("128 rows of 224")
    assert nodes["fc6@left"].details == ()
    assert shown.totals[0] == "61,100,840 parameters"


DRAWS = """
from netspec.plugin import Layer, Tensor, forward, register

@register("{name}")
class Draws(Layer):
    \"\"\"y = x\"\"\"
    examples = ({{"attrs": {{}}, "inputs": [(3, 4)]}},)

    def outputs(self, x):
        return Tensor({shape}, x.dtype)

    {more}

    @forward("cpu", over="y", writes="y")
    def forward_cpu(start, stop, x, y{args}):
        y[start:stop] = x[start:stop]
"""
STATE = """def state(self, x):
        from netspec.plugin import State
        return {"count": State((1,), dtype="int32", axis=None)}"""


@pytest.mark.parametrize(
    ("name", "shape", "more", "args", "message"),
    [
        ("draws", "x.shape", "", ", key, counters", "all devices would draw alike"),
        ("turned", "x.shape[::-1]", "", "", "is not that of the batch's rows"),
        ("counts", "x.shape", STATE, "", "its state 'count' is int32, which has no mean over devices"),
    ],
)
def test_what_rows_cannot_be_is_refused(name, shape, more, args, message, tmp_path) -> None:  # type: ignore[no-untyped-def]
    plugin = tmp_path / f"{name}.py"
    plugin.write_text(DRAWS.format(name=name, shape=shape, more=more, args=args))
    try:
        load_plugin(plugin)
        placed = "device: [w0, w1], split: batch, inputs: {from: fc4, connect: all}"
        with pytest.raises(SpecError, match=message):
            build(trick(**{"name: relu4, type: relu": f"name: relu4, type: {name}, {placed}"}))
    finally:
        forget()
