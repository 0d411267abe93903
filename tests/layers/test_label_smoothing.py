"""Label smoothing in softmax_loss against the formula of torch.nn.CrossEntropyLoss(label_smoothing=s), in float64."""

from __future__ import annotations

import numpy as np
import pytest
from cross_entropy import DEVICES, VALID, WEIGHT, reference

from netspec.check.single import SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Tensor


def run(device, smoothing, classes, variant="plain", phase="train"):
    x = (5 * np.random.default_rng(0).normal(size=(6, classes))).astype(np.float32)
    label = (np.arange(6) * 7 % classes).astype(np.int32)
    tensors = [Tensor(x.shape), Tensor(label.shape, "int32")]
    attrs = {"weight": WEIGHT, "smoothing": smoothing}
    single = SingleLayer("softmax_loss", attrs, tensors, device, phase=phase, variant=variant)
    arrays = {"x": x, "label": label}
    forward = single.forward(arrays, valid=VALID)
    return x, label, forward, single.backward({**arrays, **forward}, valid=VALID) if phase == "train" else {}


@pytest.mark.parametrize(("device", "variant"), DEVICES)
@pytest.mark.parametrize(("smoothing", "classes"), [(0.1, 12), (0.5, 1032)])
def test_loss_and_gradient_are_those_of_the_formula(device, variant, smoothing, classes):
    x, label, forward, backward = run(device(), smoothing, classes, variant)
    loss, d_x = reference(x, label, smoothing)
    np.testing.assert_allclose(forward["report"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(backward["d_x"][:VALID], d_x, rtol=1e-5, atol=1e-7)
    assert not backward["d_x"][VALID:].any()


@pytest.mark.parametrize(("device", "variant"), DEVICES)
def test_without_smoothing_loss_and_gradient_are_the_plain_ones(device, variant):
    x, label, forward, backward = run(device(), 0.0, 12, variant)
    loss, d_x = reference(x, label, 0.0)
    np.testing.assert_allclose(forward["report"][0], loss, rtol=1e-5)
    np.testing.assert_allclose(backward["d_x"][:VALID], d_x, rtol=1e-5, atol=1e-7)


def test_probabilities_and_errors_do_not_change():
    for one, other in zip(run(cpu(), 0.0, 12)[2].items(), run(cpu(), 0.4, 12)[2].items(), strict=True):
        name, plain, smoothed = one[0], one[1], other[1]
        first = 1 if name == "report" else 0  # the loss
        assert plain[first:].tobytes() == smoothed[first:].tobytes()


def test_evaluation_reports_the_plain_loss():
    _, _, plain, _ = run(cpu(), 0.0, 12, phase="eval")
    _, _, smoothed, _ = run(cpu(), 0.4, 12, phase="eval")
    assert plain["report"].tobytes() == smoothed["report"].tobytes()
