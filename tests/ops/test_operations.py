"""The CUDA kernels of operations, emulated, against their CPU kernels: whole vectors, what is left over, slices."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import needs_compiler
from single_steps import RNG, compare, cpu, gpu, normal, run

from netspec.check.augmentations import placed
from netspec.data.augment import tinted

pytestmark = needs_compiler


@pytest.mark.parametrize("finite", [(1, 1), (1, 0)])
def test_average(finite):
    values = {"average": normal(5, 203), "param": normal(5, 203), "share": np.array([0.25], np.float32)}
    compare("average", values | {"finite": np.array(finite, np.int32)}, ("average",))
    found, _ = run(gpu(), "average", values | {"finite": np.array(finite, np.int32)}, ("average",))
    expected = 0.75 * values["average"] + 0.25 * values["param"] if all(finite) else values["average"]
    np.testing.assert_allclose(found["average"], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 203, 2048])
@pytest.mark.parametrize(("subtrees", "share", "inplace"), [
    (0, None, False), (0, 0.25, False), (0, 0.25, True), (1, None, False), (1, 0.25, False), (3, None, True),
    (3, 0.375, True),
])  # fmt: skip
def test_accumulate(size, subtrees, share, inplace):
    values = {"target": normal(size)} | ({} if inplace else {"value": normal(size)})
    values |= {f"subtree{number}": normal(size) for number in range(subtrees)}
    values |= {} if share is None else {"share": np.array([share], np.float32)}
    compare("accumulate", values, ("target",))
    found, _ = run(gpu(), "accumulate", values, ("target",))
    wanted = values["target" if inplace else "value"] * np.float32(1.0 if share is None else share)
    for number in range(subtrees):
        wanted = values[f"subtree{number}"] + wanted
    np.testing.assert_allclose(found["target"], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("count", [2, 3, 4])
def test_mean(count):
    values = {"target": normal(203)} | {f"source{number}": normal(203) for number in range(count)}
    compare("mean", values, ("target",), share=1 / count)
    found, _ = run(gpu(), "mean", values, ("target",), share=1 / count)
    wanted = np.mean([values[f"source{number}"] for number in range(count)], axis=0)
    np.testing.assert_allclose(found["target"], wanted, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize("size", [1, 4096, 9001])
@pytest.mark.parametrize("bad", [None, np.nan, np.inf])
def test_squares(size, bad):
    """In float64, so that squares beyond float32 are finite; of what is not finite the flag tells."""
    source = normal(size) * np.float32(1e30)
    source[-1] = source[-1] if bad is None else bad
    values = {"source": source, "partials": np.ones(-(-size // 4096)), "flag": np.array([7], np.int32)}
    for device in (cpu(), gpu()):
        found, _ = run(device, "squares", values, ("partials", "flag"))
        expected = np.add.reduceat(source.astype(np.float64) ** 2, range(0, size, 4096))
        np.testing.assert_allclose(found["partials"], expected, rtol=1e-14)
        assert found["flag"] == (bad is None)
        del values["flag"]
        np.testing.assert_array_equal(run(device, "squares", values, ("partials",))[0]["partials"], found["partials"])
        values["flag"] = np.array([7], np.int32)


@pytest.mark.parametrize("count", [1, 3, 700])
def test_total(count):
    values = {"partials": RNG.normal(size=count) ** 2, "total": np.zeros(1)}
    for device in (cpu(), gpu()):
        found, _ = run(device, "total", values, ("total",))
        np.testing.assert_allclose(found["total"], values["partials"].sum(), rtol=1e-14)


NORMS = [((9.0, 16.0), 0.4), ((1.0, 2.0), 1.0), ((0.0,), 1.0), ((1e76, 0.0), 2e-38)]


@pytest.mark.parametrize(("norms", "factor"), NORMS)
def test_clip(norms, factor):
    values = {"norms": np.array(norms), "factor": np.zeros(1, np.float32)}
    for device in (cpu(), gpu()):
        found, _ = run(device, "clip", values, ("factor",), limit=2.0)
        np.testing.assert_allclose(found["factor"], factor, rtol=1e-6)


PLACES = [(2, 0, 0, 0, 0, 0, 0), (0, 1, 1, 1, 0, 0, 0), (1, 0, 1, 0, -2, 1, 0), (1, 1, 0, 1, 1, -3, 1), (-1, *6 * [0])]


@pytest.mark.parametrize("held", [(3, 4, 4, 3), (3, 5, 5, 3), (3, 9, 5, 1), (3, 4, 3, 3), (3, 5, 9, 4)])
def test_gather(held):
    """Cut, mirrored, moved beyond each edge, black; rows of multiples of four elements and others."""
    shape = (len(PLACES), min(held[1], 4 + 4 * (held[1] == 9)), {3: 3, 4: 4, 5: 4, 9: 8}[held[2]], held[3])
    values = {"images": RNG.integers(0, 256, held, np.uint8), "places": np.array(PLACES, np.int32)}
    spare = held[1] - shape[1], held[2] - shape[2]
    values["places"][:, 1:3] = np.minimum(values["places"][:, 1:3], spare)
    values["raw"] = RNG.integers(0, 256, shape, np.uint8)
    rows = values["places"].tolist()
    wanted = np.stack([placed(values["images"][row[0]], row, shape[1:3]) * (row[0] >= 0) for row in rows])
    for device in (cpu(), gpu()):
        found, _ = run(device, "gather", values, ("raw",))
        np.testing.assert_array_equal(found["raw"], wanted)

