"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"))


def test_formula():
    x, target = np.random.default_rng(0).normal(size=(2, 5, 3))
    done = LAYER(x, target)
    loss, count = done.outputs["report"]
    np.testing.assert_allclose(loss / count, np.log(np.cosh(x - target)).mean(), rtol=1e-5)
    np.testing.assert_allclose(done.gradients()["x"], np.tanh(x - target) / x.size, rtol=1e-4, atol=1e-6)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
