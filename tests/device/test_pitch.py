"""How slices lie in memory, against numpy's own strides."""

import numpy as np
import pytest

from netspec.device.cuda.pitch import Pitched, common, pitched


def _of(array):
    return pitched(array.shape, array.strides, array.itemsize)


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_rows_of_a_slice(axis):
    whole = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)
    part = whole[(slice(None),) * axis + (slice(1, 3),)]
    lies = _of(part)
    raw, start = whole.tobytes(), part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    rows = [raw[start + row * lies.pitch :][: lies.width] for row in range(lies.rows)]
    assert b"".join(rows) == part.tobytes()


def test_contiguous_arrays_are_one_row():
    assert _of(np.zeros((3, 1, 4), np.float32)) == Pitched(1, 48, 48)
    assert _of(np.zeros((), np.float32)) == Pitched(1, 4, 4)


def test_slices_along_two_axes_are_refused():
    with pytest.raises(ValueError, match="two axes"):
        _of(np.zeros((4, 5, 6))[:, 1:3, 1:3])


def test_a_contiguous_array_is_cut_to_the_slices_rows():
    target, source = _of(np.zeros((3, 8), np.float32)[:, 2:4]), _of(np.zeros((3, 2), np.float32))
    assert common(target, source) == (Pitched(3, 8, 32), Pitched(3, 8, 8))
    with pytest.raises(ValueError, match="cannot be cut"):
        common(_of(np.zeros((3, 8))[:, :2]), _of(np.zeros((2, 9))[:, :3]))
