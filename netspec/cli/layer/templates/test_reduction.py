"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"))


def test_formula():
    x, dy = np.random.default_rng(0).normal(size=(2, 2, 3, 3, 4))
    done = LAYER(x)
    length = np.sqrt((x * x).sum(axis=-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(done.outputs["y"], x / length, rtol=1e-4, atol=1e-6)
    along = (dy * x).sum(axis=-1, keepdims=True) / length
    np.testing.assert_allclose(done.gradients(y=dy)["x"], (dy - along * x / length) / length, rtol=1e-4, atol=1e-5)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
