"""Tests of my_layer.py: the formula in NumPy, and netspec's contract suite."""

from pathlib import Path

import numpy as np

import netspec
from netspec.check import run

LAYER = netspec.layer(Path(__file__).with_name("my_layer.py"), {"sharpness": 2.0})


def test_formula():
    x = np.linspace(-3, 3, 24).reshape(2, 3, 4)
    done = LAYER(x)
    np.testing.assert_allclose(done.outputs["y"], x / (1 + 2 * abs(x)), rtol=1e-6)
    np.testing.assert_allclose(done.gradients()["x"], 1 / (1 + 2 * abs(x)) ** 2, rtol=1e-6)


def test_contract():
    assert not [result for result in run(LAYER.type) if result.status == "failed"]
