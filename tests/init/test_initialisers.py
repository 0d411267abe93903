"""First values of parameters: functions of seed and name, finite, of the declared spread."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.errors import NetspecError
from netspec.init import initial, initialiser_types

SHAPE = (1200, 1000)  # drawn in two pieces
SPREAD = {
    "constant": 0.0,
    "gaussian": 0.01,
    "he": (2 / 50) ** 0.5,
    "xavier": (2 / (50 + 30)) ** 0.5,
    "uniform": 0.01 / 3**0.5,
}


@pytest.mark.parametrize("kind", initialiser_types())
def test_spread_and_repetition(kind):
    attrs = {"type": "uniform", "low": -0.01, "high": 0.01} if kind == "uniform" else {"type": kind}
    values = initial(attrs, SHAPE, 50, 30, (0, "conv1.weight"))
    assert values.dtype == np.float32 and values.std() == pytest.approx(SPREAD[kind], rel=0.01, abs=1e-9)
    assert np.array_equal(values, initial(attrs, SHAPE, 50, 30, (0, "conv1.weight")))
    if kind != "constant":
        assert not np.array_equal(values, initial(attrs, SHAPE, 50, 30, (0, "conv2.weight")))


def test_values_beyond_float32_are_an_error_that_names_the_parameter():
    with pytest.raises(NetspecError, match=r"fc6\.weight.*beyond float32"):
        initial({"type": "gaussian", "std": 3e38}, (100, 100), 1, 1, (0, "fc6.weight"))
