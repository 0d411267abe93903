"""Indices that count from the end: in kernels with checked indices a literal one may, as far as the array goes."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.kernels.cpu import compile_cpu
from netspec.kernels.index_checks import outside


def last(x, y):
    y[0, -1] = x[-1, 0] + x[1][-4]


def too_far(x, y):
    y[0, -5] = x[0, 0]


def computed(x, y):
    y[0, x.shape[0] - 3] = x[0, 0]


def test_a_literal_index_counts_from_the_end() -> None:
    x, y = np.arange(8.0).reshape(2, 4), np.zeros((2, 4))
    compile_cpu(last, "float64", True)(x, y)
    assert y[0].tolist() == [0, 0, 0, 8]


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (too_far, "y[0, -5] is outside the array 'y': index -5 of axis 1, where 0 to 3 are inside (too_far)"),
        (computed, "y[0, x.shape[0] - 3] is outside the array 'y': index -1 of axis 1, where 0 to 3 are inside (comp"),
    ],
)
def test_what_lies_before_the_array_and_what_is_computed_is_told(kernel, message) -> None:
    with pytest.raises(IndexError) as caught:
        compile_cpu(kernel, "float64", True)(np.zeros((2, 4)), np.zeros((2, 4)))
    assert message in str(outside(caught.value))
