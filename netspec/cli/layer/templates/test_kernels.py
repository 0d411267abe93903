"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"))


def test_formula():
    random = np.random.default_rng(0)
    x, dy, weight = random.normal(size=(3, 2, 2, 4)), random.normal(size=(3, 2, 2, 4)), random.normal(size=(2, 2, 4))
    done = LAYER(x, weight=weight)
    np.testing.assert_allclose(done.outputs["y"], x + weight, rtol=1e-4, atol=1e-6)
    gradients = done.gradients(y=dy)
    np.testing.assert_allclose(gradients["x"], dy, rtol=1e-6)
    np.testing.assert_allclose(gradients["weight"], dy.sum(axis=0), rtol=1e-4, atol=1e-6)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
