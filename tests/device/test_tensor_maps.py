"""Tensor maps: what the driver is asked, what is refused before it, and how a pass's parameters take them."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
from netspec.contract.naming import Argument
from netspec.contract.tensor_map import Im2col, TensorMap
from netspec.device.cuda import tensor_maps
from netspec.device.cuda.arguments import arguments
from netspec.device.cuda.tensor_maps import encode, problems, put
from netspec.errors import NetspecError
from netspec.planning.plan import Pass

MATRIX = TensorMap("x", (64, 256), (256,), (32, 128))
"""Of (256, 64) float32."""
IMAGE = TensorMap(
    "x", (96, 27, 29, 4), (192, 5184, 150336), im2col=Im2col((-2, -1), (-2, -3), (1, 2), 64, 128), swizzle=128
)
"""Of (4, 29, 27, 96) bfloat16."""


class Driver:
    """The driver's library as ctypes shows it: what it was asked for, and an answer."""

    def __init__(self, answer=0):
        self.asked, self.answer = None, answer

    def __getattr__(self, name):
        def call(place, *args):
            assert place.value % 64 == 0, "the driver wants maps at multiples of 64 bytes"
            ctypes.memset(place.value, 7, 128)
            self.asked = (name, *map(_plain, args))
            return self.answer

        return call


def _plain(value):
    return value.value if isinstance(value, ctypes._SimpleCData) else value if isinstance(value, int) else list(value)


@pytest.fixture
def driver(monkeypatch):
    made = Driver()
    monkeypatch.setattr(tensor_maps, "library", lambda: made)
    return made


class Bfloat16(np.ndarray):
    """An array that calls itself one of bfloat16."""

    dtype = "bfloat16"


def test_a_box_of_a_matrix(driver):
    array = np.zeros((256, 64), np.float32)
    for _ in range(20):  # wherever memory happens to lie
        encoded = encode(MATRIX, array)
    assert encoded.shape == (128,) and (encoded == 7).all()
    sizes, steps = [[64, 256], [256], [32, 128]], [1, 1]
    assert driver.asked == ("cuTensorMapEncodeTiled", 7, 2, array.ctypes.data, *sizes, steps, 0, 3, 3, 0)


def test_windows_of_an_image(driver):
    array = np.zeros((4, 29, 27, 96), np.uint16).view(Bfloat16)
    encode(IMAGE, array)
    sizes = [[96, 27, 29, 4], [192, 5184, 150336], [-2, -1], [-2, -3], 64, 128, [1, 1, 2, 1]]
    assert driver.asked == ("cuTensorMapEncodeIm2col", 9, 4, array.ctypes.data, *sizes, 0, 3, 3, 0)


def test_maps_within_the_limits_are_maps():
    assert not [*problems(MATRIX, "float32"), *problems(IMAGE, "bfloat16")]


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dims": (64,)}, "1 axes and 1 strides"),
        ({"dims": (64, 0)}, r"not \(64, 0\)"),
        ({"strides": (200,)}, "multiples of 16 bytes"),
        ({"swizzle": 16}, "0, 32, 64, 128 bytes, not 16"),
        ({"box": None}, "either a box or im2col"),
        ({"box": (32,)}, "a box of 1 axes for an array of 2"),
        ({"box": (32, 257)}, "1 to 256 elements"),
        ({"box": (33, 2)}, "multiple of 16 bytes, not 132"),
        ({"box": (64, 2)}, "256 bytes is longer than the swizzle of 128"),
        ({"box": (32, 2), "swizzle": 64}, "128 bytes is longer than the swizzle of 64"),
    ],
)  # fmt: skip
def test_a_box_that_the_driver_would_refuse_is_told(changed, words):
    with pytest.raises(ValueError, match=words):
        put(None, replace(MATRIX, **changed), np.zeros((256, 64), np.float32), encode)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"lower": (-129, 0)}, "between -128 and 127"),
        ({"lower": (0,)}, "3 to 5"),
        ({"stride": (9, 1)}, "1 to 8 pixels apart"),
        ({"pixels": 1025}, "1 to 1024 pixels, not 64 and 1025"),
        ({"channels": 128}, "256 bytes is longer than the swizzle of 128"),
        ({"channels": 4}, "multiple of 16 bytes, not 8"),
    ],
)
def test_windows_that_the_driver_would_refuse_are_told(changed, words):
    array = np.zeros(1, np.uint16).view(Bfloat16)
    with pytest.raises(ValueError, match=words):
        put(None, replace(IMAGE, im2col=replace(IMAGE.im2col, **changed)), array, encode)


def test_arrays_that_no_map_describes_are_told():
    with pytest.raises(ValueError, match="'x' is int64, and maps are of float32 or bfloat16"):
        put(None, MATRIX, np.zeros((256, 64), np.int64), encode)
    with pytest.raises(ValueError, match="'x' does not begin at a multiple of 16 bytes"):
        put(None, MATRIX, np.zeros(16386, np.float32)[1:16385].reshape(256, 64), encode)


ONE = Pass(
    "conv:forward_cuda", "plain", (("x", Argument("x")), ("x_map", None), ("slope", None)), {"slope": 0.5},
    (Argument("x"),), 1, 1, (1,), (128,), (Argument("x"),), (), False, "float32", shared=1, maps={"x_map": MATRIX},
)  # fmt: skip


def test_a_parameter_takes_the_map_of_another_ones_array(driver):
    class Card:
        held = None

        def empty(self, shape, dtype):
            self.held = np.zeros(shape, dtype)
            return self.held

        def upload(self, array, values):
            array[:] = values

    card, array = Card(), np.zeros((256, 64), np.float32)
    values = arguments(ONE, {Argument("x"): array}, lambda one, there: put(card, one, there, encode))
    assert values[0].shape == (16384,) and values[1] is card.held and values[2] == np.float32(0.5)
    assert driver.asked[3] == array.ctypes.data and (card.held == 7).all()


def test_what_is_refused_names_kernel_and_parameter(driver):
    driver.answer, arrays = 1, {Argument("x"): np.zeros((256, 64), np.float32)}
    card = SimpleNamespace(empty=lambda *_: None)
    with pytest.raises(NetspecError, match=r"^conv:forward_cuda: the tensor map 'x_map': the CUDA driver answers 1$"):
        arguments(ONE, arrays, lambda one, there: put(card, one, there, encode))
    wide = replace(ONE, maps={"x_map": replace(MATRIX, box=(32, 300))})
    with pytest.raises(NetspecError, match=r"^conv:forward_cuda: the tensor map 'x_map': a box has 1 to 256 elements"):
        arguments(wide, arrays, lambda one, there: put(card, one, there, encode))


def test_a_kernel_of_dynamic_shared_memory_is_bound_to_its_threads():
    assert (ONE.bound, replace(ONE, threads=(32, 4)).bound, replace(ONE, shared=0).bound) == (128, 128, 0)
