"""``netspec.layer``: a layer alone, called on arrays from Python."""

from __future__ import annotations

import numpy as np
import pytest

import netspec
from netspec.check.subject import gpu
from netspec.device.gpus import finds_compiler, gpus
from netspec.errors import NetspecError, SpecError

X = np.random.default_rng(0).normal(size=(2, 5, 6, 4)).astype(np.float32)


def test_outputs_and_gradients_of_a_function_of_elements():
    done = netspec.layer("leaky_relu", {"slope": 0.5})(X)
    np.testing.assert_array_equal(done.outputs["y"], np.where(X > 0, X, X / 2))
    np.testing.assert_array_equal(done.gradients()["x"], np.where(X > 0, 1, 0.5))
    np.testing.assert_array_equal(done.gradients(y=2 * X)["x"], np.where(X > 0, 2 * X, X))
    assert repr(done) == "LayerResult(y: (2, 5, 6, 4))"


def test_weights_are_drawn_by_the_seed_or_given():
    layer = netspec.layer("dense", {"units": 3}, seed=1)
    rows, weight = X.reshape(2, -1), np.ones((120, 3))
    drawn = layer(rows).params["weight"]
    np.testing.assert_array_equal(layer(rows).params["weight"], drawn)
    assert (netspec.layer("dense", {"units": 3}, seed=2)(rows).params["weight"] != drawn).any()
    done = layer(rows, weight=weight, bias=[1.0, 2.0, 3.0])
    np.testing.assert_allclose(done.outputs["y"], rows @ weight + [1, 2, 3], rtol=1e-4)
    gradients = done.gradients(y=np.ones((2, 3)))
    np.testing.assert_allclose(gradients["weight"], np.repeat(rows.sum(0)[:, None], 3, 1), rtol=1e-4, atol=1e-6)
    assert set(gradients) == {"x", "weight", "bias"} and repr(layer).startswith("LoneLayer(dense, units: 3, ")


def test_states_and_what_they_become():
    layer = netspec.layer("batch_norm")
    done = layer(X, mean=np.ones(4))
    assert set(done.state) == set(done.next_state) == {"mean", "variance"} and (done.state["mean"] == 1).all()
    np.testing.assert_allclose(done.next_state["mean"], 0.9 + 0.1 * X.mean((0, 1, 2)), rtol=1e-5)
    used = netspec.layer("batch_norm", phase="eval")(X, mean=np.ones(4))
    np.testing.assert_allclose(used.outputs["y"], (X - 1) / np.sqrt(1 + 1e-5), rtol=1e-4, atol=1e-6)
    assert not used.next_state


def test_a_cost_with_its_label_and_without():
    scores, label = X.reshape(-1, 4)[:3], [0, 3, 1]
    done = netspec.layer("softmax_loss")(scores, label)
    probs = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(done.outputs["report"][0], -np.log(probs[range(3), label]).sum(), rtol=1e-5)
    np.testing.assert_allclose(done.gradients()["x"], (probs - np.eye(4)[label]) / 3, rtol=1e-4, atol=1e-6)
    answer = netspec.layer("softmax_loss", phase="predict")
    np.testing.assert_allclose(answer(scores).outputs["probs"], probs, rtol=1e-5)
    assert answer.inputs == ("x", "label")


def test_several_inputs():
    done = netspec.layer("concat")(X, X[..., :1], X[..., 1:3])
    np.testing.assert_array_equal(done.outputs["y"], np.concatenate([X, X[..., :3]], 3))
    assert set(done.gradients()) == {"x0", "x1", "x2"}


@pytest.mark.skipif(not gpus() and not finds_compiler(), reason="no GPU, and CUDA's compiler is not installed")
def test_cuda_gives_what_cpus_give():
    gpu()
    ours, theirs = (netspec.layer("gelu", backend=backend)(X) for backend in ("cpu", "cuda"))
    np.testing.assert_allclose(ours.outputs["y"], theirs.outputs["y"], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.gradients()["x"], theirs.gradients()["x"], rtol=1e-5, atol=1e-6)


PLUGIN = '''
"""Twice."""
from netspec.plugin import Elementwise, register
@register("{name}")
class Twice(Elementwise):
    """y = 2 x"""
    def forward(x): return 2.0 * x
    def backward(dy): return 2.0 * dy
'''


def test_a_plugin_by_its_file_or_by_its_type(tmp_path):
    file = tmp_path / "twice_file.py"
    file.write_text(PLUGIN.format(name="twice_file"))
    assert (netspec.layer(file)(X).outputs["y"] == 2 * X).all()
    assert (netspec.layer("twice_file")(X).outputs["y"] == 2 * X).all()
    other = tmp_path / "twice_other.py"
    other.write_text(PLUGIN.format(name="twice_a") + PLUGIN.format(name="twice_b"))
    with pytest.raises(NetspecError, match="name the layer type, it registers twice_a, twice_b"):
        netspec.layer(other)
    assert (netspec.layer("twice_b", plugins=[other])(X).outputs["y"] == 2 * X).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: netspec.layer("gelo"), "unknown layer type 'gelo' (did you mean 'gelu'?)"),
        (lambda: netspec.layer("gone.py"), "gone.py: no such plugin file"),
        (lambda: netspec.layer("leaky_relu", {"slop": 1}), "leaky_relu: unknown key 'slop' (did you mean 'slope'?)"),
        (lambda: netspec.layer("dense", {"units": 0}), "dense: 'units' must be a whole number of at least 1"),
        (lambda: netspec.layer("dense", {"units": "classes"}), "dense: 'units' must be a number here"),
        (lambda: netspec.layer("gelu", phase="training"), "'training' is none of train, eval, predict"),
        (lambda: netspec.layer("gelu", backend="gpu"), "'gpu' is none of cpu, cuda"),
        (lambda: netspec.layer("gelu")(3.0), "gelu: 'x' must be an array, its first axis the batch"),
        (lambda: netspec.layer("gelu")(), "gelu: it reads x, got 0 of them"),
        (lambda: netspec.layer("softmax_loss")(X[0, 0]), "softmax_loss: it reads x, label, got 1 of them"),
        (lambda: netspec.layer("softmax_loss")(X[0, 0], [9] * 6), "'label' must be from 0 to 3"),
        (lambda: netspec.layer("gelu")(["a"]), "gelu: 'x' must be an array of float32, got <U1"),
        (lambda: netspec.layer("gelu")(X, weight=X), "gelu: it has no 'weight' (no parameters nor states)"),
        (lambda: netspec.layer("dense", {"units": 2})(X, bias=[1]), "dense: 'bias' has shape (2,) here, got (1,)"),
        (lambda: netspec.layer("gelu")(X).gradients(z=X), "no gradient can be given for 'z' (gradients come from y)"),
        (lambda: netspec.layer("gelu")(X).gradients(y=X[0]), "gelu: 'y' has shape (2, 5, 6, 4) here, got (5, 6, 4)"),
        (lambda: netspec.layer("gelu", phase="eval")(X).gradients(), "gradients in phase train, this is eval"),
        (lambda: netspec.layer("conv", {"filters": 2, "size": 9})(X), "conv: "),
    ],
)
def test_what_does_not_fit_is_told(call, message):
    with pytest.raises(NetspecError) as told:
        call()
    assert message in str(told.value)


def test_all_that_is_wrong_with_attributes_is_told_at_once():
    with pytest.raises(SpecError) as told:
        netspec.layer("conv", {"sise": 3})
    first, second = str(told.value).splitlines()
    assert first.startswith("conv: unknown key 'sise'") and second.startswith("conv: 'filters' is missing")
