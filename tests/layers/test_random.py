"""Random numbers of kernels: a run of neighbours is drawn as each element by itself."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.contract.random import bernoulli, uniform
from netspec.kernels.cpu import compile_cpu

KEY = np.uint64(0x9E3779B97F4A7C15)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("first", [0, 1, 6, 2**33 + 3])
def test_runs_are_drawn_as_single_elements_are(first: int, dtype: str) -> None:
    one, many = compile_cpu(uniform, dtype), compile_cpu(bernoulli, dtype)
    for length in (0, 1, 3, 4, 9, 150):
        for probability in np.array([0.0, 0.3, 1.0], dtype):
            chosen = np.full(length, 7, np.uint8)
            many(chosen, KEY, 2**40 + 5, first, probability)
            assert chosen.tolist() == [one(KEY, 2**40 + 5, first + i) < probability for i in range(length)]
