"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"))


def test_formula():
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4))
    expected = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(LAYER(x).outputs["y"], expected, rtol=1e-4, atol=1e-6)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
