"""What train.precision comes to: dtypes of every buffer, shadows of weights, memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import pytest
from nets import TWO_TOWERS, network

from netspec.contract.naming import Argument
from netspec.errors import SpecError
from netspec.planning import Plan, Region, build, check, from_plain, to_plain
from netspec.planning.identities import BufferKey, of_layer
from netspec.planning.storage import storage_of, told
from netspec.program import Program, lower, memory
from netspec.spec import load, loads

HOPPER, AMPERE, BLACKWELL, TURING = (9, 0), (8, 0), (12, 0), (7, 5)
NARROW = {"activation", "gradient"}
"""Roles whose floating-point buffers may be bfloat16."""
ALSO_WIDE = ("probs", "prediction")
"""Activations that are float32 always: what costs answer."""
NETS = ("alexnet", "quickstart", "resnet18")


def lowered(name: str, phase: Any, storage: Any) -> Program:
    """On GPUs with plain kernels."""
    spec = load(name, ["train.precision=bf16"])
    devices, plan = spec.devices, build(spec, phase, storage=storage)
    kinds, teams = dict.fromkeys(devices, "cuda"), dict.fromkeys(devices, 1)
    return lower(plan, kinds, teams, without={"cuda": {"tf32", "bf16"}})  # the workspace of those is their own affair


def floats_by_role(plan: Plan) -> dict[str, set[str]]:
    """The floating-point dtypes of each role's buffers."""
    found: dict[str, set[str]] = defaultdict(set)
    for key, buffer in plan.buffers.items():
        if key.of.tensor not in ALSO_WIDE and "float" in buffer.dtype:
            found[key.role].add(buffer.dtype)
    return found


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("phase", ["train", "eval", "predict"])
def test_activations_gradients_and_shadows_alone_are_bfloat16(name: str, phase: Any) -> None:
    spec = load(name)
    narrow, wide = (floats_by_role(build(spec, phase, storage=one)) for one in ("bfloat16", "float32"))
    assert narrow.pop("shadow") == {"bfloat16"}
    assert narrow.keys() == wide.keys()
    for role, found in narrow.items():
        wanted = {"bfloat16" if one == "float32" else one for one in wide[role]} if role in NARROW else wide[role]
        assert found == wanted, role


@pytest.mark.parametrize("name", NETS)
def test_the_arena_of_evaluation_is_half_as_large(name: str) -> None:
    narrow, wide = (memory([lowered(name, "eval", one)]) for one in ("bfloat16", "float32"))
    for device in narrow:
        assert 0.45 <= narrow[device]["arena"] / wide[device]["arena"] <= 0.55
        assert narrow[device]["activation"] / wide[device]["activation"] == pytest.approx(0.5, abs=0.01)
        assert narrow[device]["parameter"] == wide[device]["parameter"]


def test_crossings_move_half_the_bytes() -> None:
    narrow, wide = (build(load("alexnet"), storage=one).crossings for one in ("bfloat16", "float32"))
    assert [2 * one.bytes for one in narrow] == [one.bytes for one in wide]


def test_weights_are_read_in_their_shadows_and_trained_themselves() -> None:
    plan = build(network(TWO_TOWERS), storage="bfloat16")
    steps = {step.name: step for step in plan.steps}
    weight, shadow = (of_layer("conv1", "weight", role, "left") for role in ("parameter", "shadow"))
    for name in ("conv1.forward@left", "fc4.backward@left"):
        step = steps[name]
        read = {str(one): plan.buffers[region.buffer].dtype for one, region in step.args.items()}
        assert (read.get("weight"), read.get("bias", "float32")) == ("bfloat16", "float32")
        assert (step.compute, step.accumulate) == ("bfloat16", "float32")
    backward = {str(one): plan.buffers[region.buffer] for one, region in steps["fc4.backward@left"].args.items()}
    assert (backward["d_weight"].dtype, backward["d_x"].dtype) == ("float32", "bfloat16")
    assert steps["relu1.forward@left"].compute == "float32"
    made, update = steps[f"{shadow}.shadow"], steps[f"{weight}.update"]
    assert [region.buffer for region in made.args.values()] == [weight, shadow]
    assert list(steps).index(made.name) < list(steps).index("conv1.forward@left") < list(steps).index(update.name)
    assert update.args[Argument("shadow")].buffer == shadow and Argument("shadow") in update.writes
    assert len([step for step in plan.steps if step.op == "shadow"]) == len(plan.keys("shadow")) == 9
    assert plan.buffers[shadow].logical is None  # checkpoints hold logical tensors


def shadows_among(regions: Iterable[Region]) -> set[BufferKey]:
    return {region.buffer for region in regions if region.buffer.role == "shadow"}


@pytest.mark.parametrize("phase", ["train", "eval", "predict"])
def test_steps_make_shadows_once(phase: Any) -> None:
    program = lowered("quickstart", phase, "bfloat16")
    made = [step for step in program.steps if step.op == "shadow"]
    assert made and all(one.once for step in made for one in step.passes)
    assert not any(step.writes for step in made)
    assert not {key for key in program.offsets if key.role == "shadow"}
    shadows = set(program.plan.keys("shadow"))
    assert shadows_among(region for step in made for region in step.args.values()) == shadows
    written = (step.args[one] for step in program.steps if step.op == "update" for one in step.writes)
    assert shadows_among(written) == (shadows if phase == "train" else set())


def test_programs_share_shadows() -> None:
    every = [lowered("quickstart", phase, "bfloat16") for phase in ("train", "eval", "predict")]
    assert memory(every)["left"]["shadow"] == memory(every[:1])["left"]["shadow"]


def test_averages_that_are_evaluated_have_shadows_of_their_own() -> None:
    plan = build(load("quickstart", ["train.ema={}"]), "eval", storage="bfloat16")
    assert {key.of.slot for key in plan.keys("shadow")} == {"average"}


def test_norms_are_summed_in_float64() -> None:
    plan = build(load("quickstart", ["train.clip_norm=1"]))
    assert {step.op for step in plan.steps if step.accumulate == "float64"} == {"squares", "total", "clip"}


def test_such_a_plan_survives_json() -> None:
    plan = build(network(TWO_TOWERS), storage="bfloat16")
    assert to_plain(from_plain(Plan, to_plain(plan))) == to_plain(plan)
    assert to_plain(plan)["storage"] == "bfloat16"


def test_bfloat16_is_stored_where_all_devices_can() -> None:
    for cards in ([HOPPER, HOPPER], [AMPERE], [HOPPER, AMPERE], [BLACKWELL]):
        assert storage_of("bf16", cards) == "bfloat16"
    for others in ([HOPPER, TURING], [TURING], [None], [HOPPER, None]):
        assert storage_of("bf16", others) == "float32"
    assert {storage_of(one, [HOPPER]) for one in ("tf32", "float32")} == {"float32"}
    for unit in ("avx512_bf16", "emulated"):
        assert storage_of("bf16", [unit, unit]) == "bfloat16" and storage_of("bf16", [unit, None]) == "float32"
        assert storage_of("float32", [unit]) == storage_of("tf32", [unit]) == "float32"
    assert storage_of("bf16", ["weights"]) == "float32"


def test_what_becomes_of_bf16_is_told_in_one_line() -> None:
    lines = [told("bf16", one) for one in ([HOPPER], [TURING], [None, None], ["emulated"], ["weights"])]
    assert all(len(one) == 1 for one in lines) and len(set(lines)) == 5
    assert told("bf16", ["avx512_bf16"]) == told("bf16", [HOPPER]) == told("bf16", [AMPERE])
    assert told("tf32", [HOPPER]) == told("float32", [None]) == ()


VECTOR = """
    netspec: 1
    inputs:
      image: {shape: [4, 4, 3]}
      more: {shape: [3]}
      label: {dtype: int32}
    defaults: {dense: {init: {type: gaussian, std: 0.1}}}
    layers:
      - {name: fc1, type: dense, inputs: more, units: 4}
      - {name: fc2, type: dense, inputs: image, units: 4}
      - {name: fc3, type: dense, inputs: [fc1, fc2], units: 5}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
"""


def test_vectors_stay_float32() -> None:
    plan = build(loads(VECTOR.replace("inputs: [fc1, fc2]", "inputs: fc2")), "predict", storage="bfloat16")
    dtypes = {str(key): buffer.dtype for key, buffer in plan.buffers.items()}
    assert dtypes["more@main"] == dtypes["fc1.y@main"] == "float32" and "fc1.bf16_weight@main" not in dtypes
    assert dtypes["image@main"] == dtypes["fc2.y@main"] == dtypes["fc2.bf16_weight@main"] == "bfloat16"


def test_what_is_stored_in_two_ways_is_not_joined() -> None:
    spec = loads(VECTOR, overrides=["train.precision=bf16"])
    for refuse in (check, lambda one: build(one, storage="bfloat16")):
        with pytest.raises(SpecError, match=r"fc3: with train.precision bf16 fc1.y in float32 and fc2.y in bfloat16"):
            refuse(spec)
    build(spec)
