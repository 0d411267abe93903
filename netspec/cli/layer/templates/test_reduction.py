"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"))


def test_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    done = LAYER(x)
    np.testing.assert_allclose(done.outputs["y"], x.mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(done.gradients()["x"], np.full(x.shape, 1 / 15), rtol=1e-6)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
