"""NaN and infinities on the emulated card: through fused layers, masked scores, training, evaluation, prediction."""

from dataclasses import replace

import numpy as np
import pytest
from compiled import card, cards, needs_compiler
from nets import RATES, batch, network, same_bits

from netspec.check.subject import Case, cpu
from netspec.contract.tensor import Tensor
from netspec.registry import layer_types
from netspec.runners.execution.replay import explain
from netspec.runners.execution.session import Session

pytestmark = needs_compiler
NET = """
    netspec: 1
    name: net
    devices: [main]
    inputs:
      image: {shape: [4, 4, 4]}
      label: {dtype: int32}
    layers:
      - {name: conv1, type: conv, inputs: image, filters: 4, size: 3, pad: 1, init: {type: he}}
      - {name: one, type: relu}
      - {name: conv2, type: conv, filters: 4, size: 1, init: {type: he}}
      - {name: two, type: relu}
      - {name: fc3, type: dense, units: 3, init: {type: he}}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
    train: {batch: 2, seed: 3, cuda: {precision: float32}}
    data: {mean: none, scale: 0.01}
"""
BATCH = batch(0, (4, 4, 4), 2, classes=3)


def session(fuse=True, layer="relu", phases=("train",)):
    spec = network(NET, **{"type: relu": f"type: {layer}"})
    spec = replace(spec, train=replace(spec.train, fuse=fuse))
    return Session(spec, ["cpu"], runner="serial", phases=phases, opener=cards)


def spoil(one, name, number):
    """Put a number into a parameter; all tensors as they are then."""
    tensors = one.store.tensors()
    tensors[name].flat[0] = number
    one.store.load(tensors)
    return one.store.tensors()


SPOILT = {"conv1.weight": np.nan, "conv1.bias": np.inf, "conv2.bias": -np.inf, "fc3.weight": np.nan}


def trained(fuse, layer):
    """Of each spoilt parameter the verdict, the loss and gradients."""
    with session(fuse, layer) as one:
        clean, bound = one.store.tensors(), one.bound("train")
        for name, number in SPOILT.items():
            one.store.load(clean)
            before = spoil(one, name, number)
            given = one.train(BATCH, 0, 2, RATES)
            if not given.finite:
                same_bits(one.store.tensors(), before)
            keys = {str(key): key for key in bound.program.buffers}
            gradients = {keys[f"{each}.d_weight@main"] for each in ("conv1", "conv2", "fc3")}
            loss = given.reports["loss"]["loss"]
            yield name, given.finite, {each: bound.download(each) for each in gradients} | {"loss": loss}


@pytest.mark.parametrize("layer", ["relu", "tanh", "logistic"])
def test_fused_layers_pass_on_what_they_do_alone(layer):
    """Forward and backward: the same bits as with each layer a kernel of its own; what is not finite changes nothing.

    Finite numbers are made of infinities by tanh and the logistic function, and by ReLU of that below zero.
    """
    for fused, apart in zip(trained(True, layer), trained(False, layer), strict=True):
        name, finite, numbers = fused
        for each, values in apart[2].items():
            np.testing.assert_array_equal(numbers[each], values, err_msg=f"{name}: {each}")
        assert finite == apart[1] == np.isfinite(numbers["loss"])
        assert finite == (name in (("conv2.bias",) if layer == "relu" else ("conv1.bias", "conv2.bias"))), name


def test_an_update_that_overflows_is_told_by_name_until_tensors_are_loaded_anew():
    """An element of the weights that is done in fours, and one of the biases behind the last four."""
    with session() as one:
        before = one.store.tensors()
        for name in ("conv1.weight", "fc3.bias"):
            one.store.load(before)
            spoil(one, f"{name}.momentum", 3e38)
            given = one.train(BATCH, 0, 2, RATES._replace(numbers=(2.0, 0.001)))
            assert given.finite and given.overflowed == (name,)
        one.store.load(before)
        assert one.train(BATCH, 0, 2, RATES).overflowed == ()


def test_evaluation_and_prediction_tell_the_layer():
    with session(phases=("eval", "predict")) as one:
        spoil(one, "conv2.weight", np.float32(3e38))
        assert np.isnan(one.evaluate(BATCH, 2).reports["loss"]["loss"])
        probs = one.predict({"image": BATCH["image"]}, 2)
        assert np.isnan(probs).all()
        for phase, arrays in (("eval", BATCH), ("predict", {"image": BATCH["image"]})):
            said = explain(one, arrays, 0, 2, phase=phase)
            assert said == "the first numbers that are not finite come from the forward pass of 'conv2' on main"


@pytest.mark.parametrize("variant", ["plain", "vector"])
def test_scores_of_minus_infinity_have_the_probability_0(variant):
    case = Case(layer_types()["softmax_loss"], {"weight": 1.0}, (Tensor((2, 16)), Tensor((2,), "int32")))
    x = np.random.default_rng(0).normal(size=(2, 16)).astype(np.float32)
    x[0, 4:8], x[1, 1:] = -np.inf, -np.inf
    values = {"x": x, "label": np.array([1, 0], np.int32)}
    got = case.on(card(), variant=variant).forward(values)
    for name, wanted in case.on(cpu(), dtype="float64").forward(values).items():
        np.testing.assert_allclose(got[name], wanted, rtol=1e-5, err_msg=name)
