"""The CUDA kernels of operations, emulated, against their CPU kernels: whole vectors, what is left over, slices."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from compiled import EmulatedCuda, needs_compiler

from netspec.check.subject import cpu
from netspec.contract.naming import Argument
from netspec.data.augment import tinted
from netspec.planning.identities import StepKey, of_layer
from netspec.planning.plan import Buffer, Region, Step
from netspec.program.steps import Lowering

pytestmark = needs_compiler
RNG = np.random.default_rng(5)


@functools.cache
def gpu():
    return EmulatedCuda()


def run(device, op, values, writes, regions=None, **attrs):
    """What a step of that operation writes; regions are ranges of the last axis by argument."""
    keys = {name: of_layer("any", name, "activation", "d") for name in values}
    buffers = {keys[name]: Buffer(keys[name], value.shape, str(value.dtype)) for name, value in values.items()}
    args = {_argument(name): Region(keys[name], *(regions or {}).get(name, ())) for name in values}
    plan = SimpleNamespace(by_place=dict, buffers=buffers)
    step = Lowering(plan, {"d": device.kind}, {"d": device.team_size}, 0).lower(
        Step(StepKey(op, "d"), "compute", args, tuple(map(_argument, writes)), attrs=attrs)
    )
    arrays = {}
    for name, value in values.items():
        one, region = _argument(name), args[_argument(name)]
        arrays[one] = whole = device.empty(value.shape, str(value.dtype))
        device.upload(whole, value)
        if region.axis is not None:
            arrays[one] = device.slice(whole, region.axis, region.start, region.stop)
    device.bind(step.passes, arrays)()
    return {name: device.download(arrays[_argument(name)]) for name in writes}, [one.kernel for one in step.passes]


def _argument(name):
    """Sources of sums are numbered: ``source0``."""
    return Argument("source", index=int(name[6:])) if name.startswith("source") and name[6:] else Argument(name)


def compare(op, values, writes, **options):
    expected, _ = run(cpu(), op, values, writes, **options)
    got, kernels = run(gpu(), op, values, writes, **options)
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-6, atol=1e-6, err_msg=f"{op}: {name}")
    return kernels


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("finite", "large"), [((1, 1), None), ((1, 0), None), ((1, 1), 0), ((1, 1), 1014), ((0, 1), 7)]
)
def test_update(finite, large):
    """1015 elements, of which one may become infinite: in fours or behind the last of them."""
    values = {"param": normal(5, 203), "momentum": normal(5, 203), "gradient": normal(5, 203)}
    if large is not None:
        values["momentum"].flat[large] = values["param"].flat[large] = 3e38
    values |= {"rates": np.array([0.1, 0.9, 0.01], np.float32), "finite": np.array(finite, np.int32)}
    values |= {"overflow": np.zeros(1, np.int32)}
    writes = ("param", "momentum", "overflow")
    compare("update", values, writes, rate=2.0, decay=0.5)
    found, _ = run(gpu(), "update", values, writes, rate=2.0, decay=0.5)
    assert found["overflow"] == (large is not None and all(finite))


@pytest.mark.parametrize("device", [cpu, gpu])
def test_a_rate_of_zero_changes_nothing(device):
    """Neither the parameter nor its momentum, in fours or behind the last of them."""
    values = {"param": normal(1015), "momentum": normal(1015), "gradient": normal(1015)}
    values |= {"rates": np.array([0.0, 0.9, 0.01], np.float32), "finite": np.ones(1, np.int32)}
    values |= {"overflow": np.zeros(1, np.int32)}
    found, _ = run(device(), "update", values, ("param", "momentum"), rate=2.0, decay=1.0)
    assert all(np.array_equal(found[name], values[name]) for name in found)


@pytest.mark.parametrize("finite", [(1, 1), (1, 0)])
def test_average(finite):
    values = {"average": normal(5, 203), "param": normal(5, 203), "share": np.array([0.25], np.float32)}
    compare("average", values | {"finite": np.array(finite, np.int32)}, ("average",))
    found, _ = run(gpu(), "average", values | {"finite": np.array(finite, np.int32)}, ("average",))
    expected = 0.75 * values["average"] + 0.25 * values["param"] if all(finite) else values["average"]
    np.testing.assert_allclose(found["average"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("flags", [(1, 1, 1), (1, 0, 1)])
def test_agree(flags):
    values = {"flags": np.array(flags, np.int32), "verdict": np.array([7], np.int32), "overflow": np.ones(5, np.int32)}
    compare("agree", values, ("verdict", "overflow"))
    found, _ = run(gpu(), "agree", values, ("verdict", "overflow"))
    assert found["verdict"] == all(flags) and not found["overflow"].any()


EVERYWHERE = slice(None)
BAD = [(None, 0.0), (0, np.nan), (2047, np.inf), (1023, -np.inf), (2100, np.nan), (EVERYWHERE, np.nan)]


@pytest.mark.parametrize(("place", "bad"), BAD)
def test_finite(place, bad):
    source = normal(2111)
    if place is not None:
        source[place] = bad
    values = {"source": source, "flag": np.array([7], np.int32)}
    compare("finite", values, ("flag",))
    assert run(gpu(), "finite", values, ("flag",))[0]["flag"] == (place is None)


@pytest.mark.parametrize(
    "shape", [(5, 3, 4, 7), (8, 2, 2, 3), (1, 3, 2, 2), (3, 3, 3, 3), (5, 2, 3, 4, 3), (3, 3, 3, 5, 1)]
)
def test_prepare(shape):
    values = {"raw": RNG.integers(0, 256, shape, np.uint8), "mean": normal(*shape[1:]), "image": normal(*shape)}
    compare("prepare", values, ("image",), scale=0.25)


@pytest.mark.parametrize("shape", [(5, 4, 4, 3), (8, 2, 2, 3), (1, 4, 3, 3), (3, 3, 3, 3), (6, 4, 4, 1), (2, 2, 2, 4)])
def test_prepare_with_colours_altered(shape):
    channels = shape[-1]
    values = {"raw": RNG.integers(0, 256, shape, np.uint8), "mean": normal(*shape[1:])}
    values |= {"tint": normal(shape[0], 1 + channels), "components": normal(channels, channels)}
    kernels = compare("prepare", {**values, "image": normal(*shape)}, ("image",), scale=0.25)
    assert kernels == ["ops.prepare:tint_cuda"]
    found, _ = run(cpu(), "prepare", {**values, "image": normal(*shape)}, ("image",), scale=0.25)
    expected = tinted(values["raw"], values["tint"], values["mean"], values["components"]) * 0.25
    np.testing.assert_allclose(found["image"], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 2, 4, 2, 3), (2, 3, 3, 3, 3), (3, 2, 2, 2, 1)])
def test_prepare_with_colours_of_sequences_altered(shape):
    """All frames of a sequence alike: as those of an image of so many more rows."""
    tall, channels = (shape[0], shape[1] * shape[2], *shape[3:]), shape[-1]
    values = {"raw": RNG.integers(0, 256, shape, np.uint8), "mean": normal(*shape[1:]), "image": normal(*shape)}
    values |= {"tint": normal(shape[0], 1 + channels), "components": normal(channels, channels)}
    compare("prepare", values, ("image",), scale=0.25)
    found, _ = run(cpu(), "prepare", values, ("image",), scale=0.25)
    image = tinted(values["raw"].reshape(tall), values["tint"], values["mean"].reshape(tall[1:]), values["components"])
    np.testing.assert_allclose(found["image"].reshape(tall), image * 0.25, rtol=1e-5, atol=1e-4)


def test_colours_altered_by_nothing_are_as_they_were():
    shape = (3, 4, 4, 3)
    values = {"raw": RNG.integers(0, 256, shape, np.uint8), "mean": normal(*shape[1:]), "image": normal(*shape)}
    plain, _ = run(cpu(), "prepare", values, ("image",), scale=0.25)
    neutral = {"tint": np.zeros((3, 4), np.float32), "components": normal(3, 3)}
    same, _ = run(cpu(), "prepare", {**values, **neutral}, ("image",), scale=0.25)
    np.testing.assert_array_equal(plain["image"], same["image"])


def test_sums_of_whole_tensors_and_of_ranges_in_fours():
    values = {name: normal(15, 16 if name == "source1" else 8) for name in ("source0", "source1", "source2", "target")}
    kernels = compare("sum", values, ("target",), regions={"source1": (1, 4, 12)})
    assert kernels == ["ops.sum:add_vector_cuda"] * 2


@pytest.mark.parametrize("start", [2, 4])
def test_sums_of_other_ranges(start):
    values = {"source0": normal(7, 6), "source1": normal(7, 16), "target": normal(7, 6)}
    kernels = compare("sum", values, ("target",), regions={"source1": (1, start, start + 6)})
    assert kernels == ["ops.sum:add_cuda"]


@pytest.mark.parametrize("finite", [(1, 1), (0, 1)])
def test_commit(finite):
    values = {"state": normal(1027), "following": normal(1027), "finite": np.array(finite, np.int32)}
    compare("commit", values, ("state",))


@pytest.mark.parametrize(("channels", "variant"), [(8, "vector_"), (3, "")])
def test_a_tensor_without_readers_gets_zeros(channels, variant):
    assert compare("sum", {"target": normal(7, channels)}, ("target",)) == [f"ops.sum:zero_{variant}cuda"]
