"""Labels of mixed images in softmax_loss against the formula (Zhang et al. 2018), in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cross_entropy import DEVICES, VALID, WEIGHT, reference

from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor
from netspec.planning.plan import make_layer

SHARES = np.array([0.0, 0.25, 1.0, 0.5, 0.125, 0.75], np.float32)


def run(device, smoothing, classes, variant="plain", **changes):
    x = (5 * np.random.default_rng(0).normal(size=(6, classes))).astype(np.float32)
    label, other = (np.arange(6) * 7 % classes).astype(np.int32), (np.arange(6) * 5 % classes).astype(np.int32)
    given = {"x": x, "label": label, "other": other, "share": SHARES, **changes}
    tensors = [Tensor(one.shape, str(one.dtype)) for one in given.values()]
    attrs = {"weight": WEIGHT, "smoothing": smoothing}
    single = SingleLayer("softmax_loss", attrs, tensors, device, variant=variant)
    forward = single.forward(given, valid=VALID)
    return given, forward, single.backward({**given, **forward}, valid=VALID)


@pytest.mark.parametrize(("device", "variant"), DEVICES)
@pytest.mark.parametrize(("smoothing", "classes"), [(0.0, 12), (0.1, 12), (0.5, 1032)])
def test_loss_and_gradient_are_those_of_the_formula(device, variant, smoothing, classes):
    given, forward, backward = run(device(), smoothing, classes, variant)
    loss, d_x = reference(**given, smoothing=smoothing)
    np.testing.assert_allclose(forward["report"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(backward["d_x"][:VALID], d_x, rtol=1e-5, atol=1e-7)
    assert not backward["d_x"][VALID:].any()


@pytest.mark.parametrize(("device", "variant"), DEVICES)
@pytest.mark.parametrize("wrong", [{"label": 12}, {"other": -1}])
def test_a_label_that_is_none_gives_no_number(device, variant, wrong):
    changed = {name: np.array([0, 1, value, 3, 4, 5], np.int32) for name, value in wrong.items()}
    _, forward, backward = run(device(), 0.0, 12, variant, **changed)
    assert np.isnan(forward["report"][0])
    assert np.isnan(backward["d_x"][2]).all() and np.isfinite(np.delete(backward["d_x"], 2, axis=0)).all()


def test_errors_are_counted_against_the_own_label():
    _, forward, _ = run(cpu(), 0.0, 12)
    _, other, _ = run(cpu(), 0.0, 12, share=np.ones(6, np.float32))
    assert forward["report"][1:].tobytes() == other["report"][1:].tobytes()


def test_without_mixed_labels_no_kernel_for_them_runs():
    layer, _ = make_layer("softmax_loss", {}, "train", [Tensor((6, 12)), Tensor((6,), "int32")])
    for backend in ("cpu", "cuda"):
        for direction in ("forward", "backward"):
            names = {kernel.function.__name__ for kernel in layer.passes(backend, direction, "plain")}
            assert names and not any("mix" in name or "share" in name for name in names)
