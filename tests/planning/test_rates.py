"""Frozen parameters, rates of their own, averages: what the plan holds of them."""

from __future__ import annotations

import json
import textwrap

import pytest
from nets import TWO_TOWERS

from netspec.contract.naming import Argument
from netspec.planning import Plan, build, from_plain, to_plain
from netspec.planning.identities import TensorKey
from netspec.planning.rates import Rates, RateTable
from netspec.spec import loads
from netspec.spec.types import Spec

HAND = "train.schedule={type: hand, steps: [{epoch: 1, layers: {'conv*': 0.1}, freeze: [conv1, fc5.bias]}]}"


def towers(*sets: str) -> Spec:
    return loads(textwrap.dedent(TWO_TOWERS), "net.yaml", sets)


def steps(plan: Plan, op: str) -> set[str]:
    """The layers with steps of an operation."""
    return {str(step.layer) for step in plan.steps if step.op == op}


def test_nothing_is_planned_backwards_that_no_trained_parameter_needs() -> None:
    plan = build(towers("train.freeze=['conv*']"))
    assert steps(plan, "update") == {"fc4", "fc5"}
    assert steps(plan, "backward") == {"loss", "fc5", "drop4", "relu4", "fc4"}
    assert not any(key.of.layer == "fc4" and key.of.tensor == "x" for key in plan.keys("gradient"))
    assert {key.of.layer for key in plan.keys("solver state")} == {"fc4", "fc5"}
    assert len(plan.steps) < len(build(towers()).steps)


def test_gradients_pass_through_a_frozen_layer_to_those_below() -> None:
    plan = build(towers("train.freeze=[conv3]"))
    assert steps(plan, "update") == {"conv1", "conv2", "fc4", "fc5"}
    assert "conv3" in steps(plan, "backward")
    assert not any(key.of.layer == "conv3" for key in plan.keys("parameter gradient"))


def test_a_single_parameter_can_be_frozen() -> None:
    plan = build(towers("train.freeze=['*.bias']"))
    assert {key.of.tensor for key in plan.keys("parameter gradient")} == {"weight"}


def test_each_parameter_that_the_schedule_names_has_a_row_of_rates() -> None:
    plan = build(towers(HAND))
    names = [str(key) for key in plan.rated]
    convs = [f"{layer}.{name}" for layer in ("conv1", "conv2", "conv3") for name in ("weight", "bias")]
    assert names == [*convs, "fc5.bias"]
    updates = [step for step in plan.steps if step.op == "update" and step.device == "left"]
    starts = {str(step.key.target.of): step.args[Argument("rates")].start for step in updates}
    assert starts == {**{name: 3 * place for place, name in enumerate(names, 1)}, "fc4.weight": 0, "fc4.bias": 0,
                      "fc5.weight": 0}  # fmt: skip
    assert from_plain(Plan, json.loads(json.dumps(to_plain(plan)))).rated == plan.rated


def test_rows_hold_the_rates_by_the_last_pattern_that_names_the_parameter() -> None:
    table = RateTable([TensorKey("weight", layer="conv1"), TensorKey("bias", layer="fc5")], averaged=True, numbers=2)
    rates = Rates(0.5, (0.9, 0.01), (("conv*", 0.1), ("conv1.weight", 0.0)), average=0.25)
    assert table.values(rates) == [0.5, 0.9, 0.01, 0.0, 0.9, 0.01, 0.5, 0.9, 0.01, 0.25]
    assert len(table.values(rates)) == table.size


@pytest.mark.parametrize("phase", ["eval", "predict"])
def test_evaluation_reads_averages_where_there_are_some(phase) -> None:
    spec = towers("train.ema={}", "train.freeze=[conv1]")
    stored = {str(key.of) for key in build(spec, phase).keys("parameter", "average")}
    assert {"conv1.weight", "conv2.weight.average", "fc5.bias.average"} < stored
    assert not {"conv1.weight.average", "conv2.weight"} & stored
    assert stored == {str(key.of) for key in build(spec, phase).keys("parameter", "average", "solver state")}
    plain = {str(key.of) for key in build(towers("train.ema={evaluate: false}"), phase).keys("parameter", "average")}
    assert "conv2.weight" in plain and not any("average" in name for name in plain)
