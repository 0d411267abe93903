"""The emulated GPU as a device: memory, slices, copies, primitives, and a network on two of them."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
from compiled import EmulatedCuda, cards, needs_compiler
from nets import RATES, batch, network

from netspec.device.emulated.device import CardOps
from netspec.errors import NetspecError
from netspec.runners.execution.session import Session
from netspec.spec import loads

TOWERS = """
    netspec: 1
    name: towers
    devices: [left, right]
    inputs:
      image: {shape: [5, 5, 3]}
      label: {dtype: int32}
    defaults:
      conv: {init: {type: gaussian, std: 0.1}, bias_init: 0.1}
    layers:
      - {name: conv1, type: conv, device: [left, right], inputs: image, filters: 4, size: 3, stride: 2}
      - {name: relu1, type: relu}
      - {name: conv2, type: conv, filters: 6, size: 1, inputs: {from: relu1, connect: all}}
      - {name: fc3, type: dense, device: left, units: 5, inputs: {from: conv2, connect: all}}
      - {name: loss, type: softmax_loss, inputs: [fc3, label]}
    train: {batch: 2, seed: 3, cuda: {precision: float32}}
    data: {mean: none, scale: 0.01}
"""


@pytest.fixture(scope="module")
def card():
    return EmulatedCuda()


def _put(card, values):
    array = card.empty(values.shape, str(values.dtype))
    card.upload(array, values)
    return array


def test_bfloat16_is_rounded_on_the_way_in_and_widened_on_the_way_out(card):
    values = np.array([[1.0, 1.00390625, 1.01171875], [np.inf, -0.0, 3.0]], np.float32)
    rounded = np.array([[1.0, 1.0, 1.015625], [np.inf, -0.0, 3.0]], np.float32)
    array, other = card.empty((2, 3), "bfloat16"), card.empty((2, 3), "bfloat16")
    card.upload(array, values)
    card.copier(other, array, card, "compute")()
    got, into = card.download(other), np.zeros((2, 3), np.float32)
    assert (array.nbytes, str(card.staging((2,), "bfloat16").dtype), str(got.dtype)) == (12, "bfloat16", "float32")
    np.testing.assert_array_equal(got, rounded)
    np.testing.assert_array_equal(card.download(other, into), rounded)


def test_arrays_of_an_arena_share_its_memory(card):
    arena = card.arena(1024)
    first = card.carve(arena, 256, (3, 5), "float32")
    again = card.carve(arena, 256, (15,), "float32")
    other = card.carve(arena, 512, (7,), "int64")
    card.upload(first, np.arange(15, dtype=np.float32).reshape(3, 5))
    card.upload(other, np.arange(7))
    assert np.array_equal(card.download(again), np.arange(15))
    assert np.array_equal(card.download(other), np.arange(7))
    assert tuple(first.shape) == (3, 5) and first.dtype == np.float32


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
def test_a_slice_is_a_view(card, axis):
    values = np.arange(2 * 3 * 4 * 6, dtype=np.float32).reshape(2, 3, 4, 6)
    array = _put(card, values)
    cut = (slice(None),) * axis + (slice(1, 2),)
    view = card.slice(array, axis, 1, 2)
    assert np.array_equal(card.download(view), values[cut])
    card.upload(view, np.full(values[cut].shape, -1, np.float32))
    values[cut] = -1
    assert np.array_equal(card.download(array), values)


def test_copies_between_devices_slices_and_staging(card):
    other, values = EmulatedCuda(), np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    target = _put(card, np.zeros((2, 3, 8), np.float32))
    card.copier(card.slice(target, 2, 4, 8), _put(other, values), other, "copy")()
    staged = card.staging((2, 3, 4), "float32")
    staged[:] = values + 100
    call = card.copier(card.slice(target, 2, 0, 4), staged, None, "copy")
    staged += 1  # the call copies what is there when it runs
    call()
    assert np.array_equal(card.download(target), np.concatenate([values + 101, values], axis=2))
    card.copier(staged, card.slice(target, 2, 4, 8), card, "compute")()
    assert np.array_equal(staged, values)


def test_no_room_is_an_error():
    with pytest.raises(NetspecError, match="cuda:0: no room for 1048576 bytes on the emulated card"):
        EmulatedCuda(nbytes=1 << 20).arena(1 << 20)


@needs_compiler
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("trans_a", [False, True])
@pytest.mark.parametrize("trans_b", [False, True])
def test_gemm(card, dtype, trans_a, trans_b):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(17, 5)).astype(dtype), rng.normal(size=(5, 3)).astype(dtype)
    left = _put(card, np.ascontiguousarray(a.T) if trans_a else a)
    right = _put(card, np.ascontiguousarray(b.T) if trans_b else b)
    wide = _put(card, np.zeros((17, 7), dtype))
    CardOps(card).gemm(left, right, card.slice(wide, 1, 2, 5), trans_a=trans_a, trans_b=trans_b)
    result = card.download(wide)
    assert np.allclose(result[:, 2:5], a @ b, atol=1e-5 if dtype == "float32" else 1e-14)
    assert not result[:, :2].any() and not result[:, 5:].any()


def test_gemm_refuses_shapes_that_do_not_fit(card):
    arrays = [card.empty(shape, "float32") for shape in ((2, 3), (4, 5), (2, 5))]
    with pytest.raises(NetspecError, match="cannot multiply"):
        CardOps(card).gemm(*arrays)


@needs_compiler
def test_sum_rows_and_add_row(card):
    rng = np.random.default_rng(2)
    a, row = rng.normal(size=(11, 35)), rng.normal(size=35)
    out = card.empty((35,), "float64")
    CardOps(card).sum_rows(_put(card, a), out)
    assert np.allclose(card.download(out), a.sum(axis=0), atol=1e-13)
    matrix = _put(card, a)
    CardOps(card).add_row(matrix, _put(card, row))
    assert np.array_equal(card.download(matrix), a + row)


def _trained(devices, spec=None, rates=RATES, **options):
    with Session(spec or network(TOWERS), devices, runner="serial", phases=("train",), **options) as session:
        for iteration in range(2):
            outcome = session.train(batch(iteration, (5, 5, 3), 2), iteration, 2, rates)
            assert outcome.finite
        return {**session.store.tensors(), **{key: np.array(value) for key, value in outcome.reports["loss"].items()}}


@needs_compiler
def test_iterations_on_two_cards_are_iterations_on_cpus():
    expected = _trained(["cpu:0,cpu:1"])
    got = _trained(["cpu:0,cpu:1"], opener=cards)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=name)


@needs_compiler
def test_averages_and_rates_of_single_parameters_too():
    hand = "train.schedule={type: hand, steps: [{epoch: 0, layers: {'*.bias': 2.0}, freeze: [conv1]}]}"
    spec = loads(textwrap.dedent(TOWERS), "net.yaml", [hand, "train.ema={}"])
    rates = RATES._replace(factors=(("*.bias", 2.0), ("conv1", 0.0)), average=0.25)
    expected = _trained(["cpu:0,cpu:1"], spec, rates)
    got = _trained(["cpu:0,cpu:1"], spec, rates, opener=cards)
    assert any(name.endswith("average") for name in expected)
    assert np.array_equal(got["conv1.weight"], got["conv1.weight.average"])
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=0, atol=1e-5 * max(1, np.abs(value).max()), err_msg=name)
