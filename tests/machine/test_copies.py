"""Copies by several threads: the same values, the same refusals."""

from __future__ import annotations

import numpy as np
import pytest

from netspec.machine.copies import LEAST, copy


@pytest.mark.parametrize("rows", [1, 3, 4, 37])
@pytest.mark.parametrize("threads", [1, 3, 4])
def test_all_of_an_array_is_copied(rows, threads):
    source = np.arange(rows * (LEAST // 8 + 5), dtype=np.int64).reshape(rows, -1)
    target = np.zeros_like(source)
    copy(target, source, threads)
    assert (target == source).all()


@pytest.mark.parametrize("shape", [(), (LEAST,)])
def test_values_that_do_not_fit_are_refused(shape):
    with pytest.raises(TypeError, match="same_kind"):
        copy(np.zeros(shape, np.uint8), np.zeros(shape), 4)
