"""Arrays that are stored as bfloat16 in kernels for CPUs, against ml_dtypes' rounding."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np

from netspec.kernels.cpu import Entry, compile_cpu, compile_host, type_of
from netspec.kernels.stored_arrays import StoredArray
from netspec.plugin import device

BF16 = ml_dtypes.bfloat16
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, -3.4e38, 1e-40, 65280.0, 1.0]


def floats():
    """Of each kind: any bits, ties both ways and off by a bit, subnormal numbers, NaN of any payload, infinities."""
    random = np.random.default_rng(1)
    bits = random.integers(0, 1 << 32, 4096, np.uint64).astype(np.uint32)
    ties = (random.integers(0, 1 << 16, 999, np.uint64).astype(np.uint32) << np.uint32(16)) | np.uint32(0x8000)
    ties[::3] += 1
    ties[1::3] -= 1
    nans = np.array([0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFF800001], np.uint32)
    return np.concatenate([*(one.view(np.float32) for one in (bits, ties, nans)), np.array(SPECIAL, np.float32)])


def run(kernel, *arrays, dtype="float32"):
    """A kernel for the kinds of these arrays, run on all of the first."""
    function = compile_cpu(kernel, dtype)
    Entry(function, tuple(map(type_of, (0, 0, *arrays))))(0, len(arrays[0]), *arrays)


def same(got, values):
    """Whether bfloat16 is the rounding of float32, NaN for NaN."""
    with np.errstate(invalid="ignore"):
        expected = values.astype(BF16)
    missing = np.isnan(values)
    np.testing.assert_array_equal(np.isnan(got.astype(np.float32)), missing)
    np.testing.assert_array_equal(got.view(np.uint16)[~missing], expected.view(np.uint16)[~missing])


def copied(start, stop, x, y):
    for i in range(start, stop):
        y[i] = x[i]


def test_numbers_are_rounded_to_the_nearest_even_where_they_are_written():
    values = floats()
    stored = np.zeros(len(values), BF16)
    run(copied, values, stored)
    same(stored, values)


def test_every_bfloat16_is_read_as_the_float32_that_it_is():
    stored, read = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BF16), np.zeros(1 << 16, np.float32)
    run(copied, stored, read)
    np.testing.assert_array_equal(read.view(np.uint32), stored.view(np.uint16).astype(np.uint32) << np.uint32(16))


def in_many_ways(start, stop, x, y, z):
    half = x.reshape(2, stop // 2)[1]
    y[: stop // 2] = half  # rounded copies, slices, a transposed view, x.dtype, numbers of each kind
    y[stop // 2 :] = 0
    z[0] = x.dtype.type(1) / 3
    z[1] = x.flat[3] + z.T[0]
    z[2] = max(x[0], x[1]) * 2 - x[-1]
    for n, value in enumerate(x[:4]):
        z[3] += n * value


def test_views_and_arithmetic_are_those_of_float32():
    x = (np.arange(8) / 3).astype(BF16)
    y, z = np.ones(8, BF16), np.zeros(4, np.float32)
    run(in_many_ways, x, y, z)
    wide = x.astype(np.float32)
    np.testing.assert_array_equal(y, np.concatenate([x[4:], np.zeros(4, BF16)]))
    third = np.float32(1) / np.float32(3)
    expected = [third, wide[3] + third, wide[1] * 2 - wide[7], wide[1] + 2 * wide[2] + 3 * wide[3]]
    np.testing.assert_allclose(z, np.array(expected, np.float32), rtol=1e-6)


def by_arrays(start, stop, x, y):
    y[start:stop] += x[start:stop]
    y[start:stop] = 2 * y[start:stop] + x[start:stop] * x.dtype.type(0.5)


def test_expressions_of_arrays_are_those_of_float32():
    x, y = (np.arange(8) / 3).astype(BF16), np.ones(8, BF16)
    run(by_arrays, x, y)
    sums = (x.astype(np.float32) + 1).astype(BF16).astype(np.float32)
    np.testing.assert_array_equal(y, (2 * sums + x.astype(np.float32) * np.float32(0.5)).astype(BF16))


def test_rows_that_lie_apart_are_arrays_too():
    stored, read = np.arange(12).astype(BF16).reshape(6, 2), np.zeros(6, np.float32)
    run(copied, stored[:, 1], read)
    np.testing.assert_array_equal(read, np.arange(1, 12, 2))
    assert type_of(stored[:, 1]) == StoredArray(1, "A") and type_of(stored) == StoredArray(2, "C")


def test_types_go_to_processes_that_compile():
    kind = StoredArray(3, "A", readonly=True)
    assert pickle.loads(pickle.dumps(kind)) == kind != StoredArray(3, "A")


@device
def doubled(x, y):
    for i in range(x.size):
        y[i] = 2 * x[i]


def hosted(ops, start, stop, x, y):
    doubled(x[start:stop], y[start:stop])


def test_helpers_of_host_passes_take_them():
    stored, wide = np.arange(4).astype(BF16), np.zeros(4, np.float32)
    for x, y in ((stored, wide), (wide, stored)):
        compile_host(hosted, "float32")(None, 0, 4, x, y)
    np.testing.assert_array_equal(stored.astype(np.float32), 4 * np.arange(4))
