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
    "dct": 1200**-0.5,
    "dirac": 1200**-0.5,
}
CERTAIN = {"constant", "dct", "dirac"}


@pytest.mark.parametrize("kind", initialiser_types())
def test_spread_and_repetition(kind):
    attrs = {"type": "uniform", "low": -0.01, "high": 0.01} if kind == "uniform" else {"type": kind}
    values = initial(attrs, SHAPE, 50, 30, (0, "conv1.weight"))
    assert values.dtype == np.float32 and values.std() == pytest.approx(SPREAD[kind], rel=0.01, abs=1e-9)
    assert np.array_equal(values, initial(attrs, SHAPE, 50, 30, (0, "conv1.weight")))
    if kind not in CERTAIN:
        assert not np.array_equal(values, initial(attrs, SHAPE, 50, 30, (0, "conv2.weight")))


def test_values_beyond_float32_are_an_error_that_names_the_parameter():
    with pytest.raises(NetspecError, match=r"fc6\.weight.*beyond float32"):
        initial({"type": "gaussian", "std": 3e38}, (100, 100), 1, 1, (0, "fc6.weight"))


def test_dirac_is_the_identity_of_each_group():
    """A convolution by it gives back the channels of each group; filters beyond them have the spread of ``gain``."""
    weight = initial({"type": "dirac", "gain": 2.0}, (3, 3, 4, 12), 36, 54, (0, "conv1.weight"))  # two groups of 6
    values = np.random.default_rng(1).standard_normal((3, 3, 4)).astype(np.float32)
    found = np.einsum("ijc,ijcf->f", values, weight).reshape(2, 6)
    assert np.array_equal(found[:, :4], np.stack([values[1, 1]] * 2))
    others = weight.reshape(36, 2, 6)[..., 4:]
    assert others.std() == pytest.approx(2.0 / 6, rel=0.15)
    assert np.array_equal(initial({"type": "dirac"}, (5, 5), 5, 5, (0, "fc1.weight")), np.eye(5, dtype=np.float32))


def test_dct_is_an_orthonormal_basis_and_its_negative():
    """Checked by the transform's definition, one function of place, row, column and channel at a time."""
    weight = initial({"type": "dct"}, (2, 3, 3, 40), 18, 40, (0, "conv1.weight"))
    basis = weight[..., :18].reshape(18, 18).astype(np.float64)
    np.testing.assert_allclose(basis.T @ basis, np.eye(18), atol=1e-6)
    assert np.array_equal(weight[..., 18:36], -weight[..., :18])
    assert np.array_equal(weight[..., 36:], weight[..., :4])
    np.testing.assert_allclose(weight[..., 0], 18**-0.5, rtol=1e-6)
    c = np.indices((2, 3, 3))[2]
    blue = np.cos(np.pi * (2 * c + 1) / 6) / np.sqrt(2 * 3 / 2 * 3)  # of the lowest frequencies, along the last axis
    np.testing.assert_allclose(weight[..., 1], blue, atol=1e-6)


def test_dct_and_a_normalisation_whiten_patches_of_smooth_colours():
    """Neighbouring pixels and colours that are alike, as of photographs: hardly a correlation of filters is left."""
    random = np.random.default_rng(2)
    distance = np.abs(np.subtract.outer(np.arange(2), np.arange(2)))
    alike, colours = 0.9**distance, np.full((3, 3), 0.8) + 0.2 * np.eye(3)
    patches = random.multivariate_normal(np.zeros(12), np.kron(np.kron(alike, alike), colours), 20_000)
    weight = initial({"type": "dct"}, (2, 2, 3, 12), 12, 48, (0, "conv1.weight")).reshape(12, 12)
    between = np.corrcoef(patches @ weight, rowvar=False) - np.eye(12)
    assert np.abs(between).max() < 0.05 < 0.8 < np.abs(np.corrcoef(patches, rowvar=False) - np.eye(12)).max()
