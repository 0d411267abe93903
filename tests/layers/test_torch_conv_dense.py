"""Convolution, dense, pooling and locally connected layers against PyTorch in float64, values and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from netspec.check.single import Array, SingleLayer
from netspec.check.subject import cpu
from netspec.contract.tensor import Shape, Tensor
from netspec.device.cpu.device import CpuDevice
from netspec.errors import LayerError
from netspec.layers._window import window_of
from netspec.registry import layer_types

torch = pytest.importorskip("torch", reason="PyTorch is the reference here, and is not installed")
functional = torch.nn.functional
pytestmark = pytest.mark.torch
Torch = Any
Attrs = Mapping[str, Any]
EXACT, SINGLE = 1e-12, 3e-6


@pytest.fixture(scope="module")
def teams() -> Iterator[list[CpuDevice]]:
    devices = [CpuDevice(0, size) for size in (1, 2, 3)]
    yield devices
    for device in devices:
        device.close()


def drawn(single: SingleLayer) -> dict[str, Array]:
    rng = np.random.default_rng(1)
    tensors = {"x": single.t.x, "d_y": single.t.y}
    tensors |= {name: single.t[name] for name in ("weight", "bias") if hasattr(single.t, name)}
    return {name: rng.standard_normal(tensor.shape) for name, tensor in tensors.items()}


def wanted(values: Mapping[str, Array], reference: Callable[..., Torch]) -> dict[str, Array]:
    given = {name: torch.tensor(value, requires_grad=True) for name, value in values.items() if name != "d_y"}
    y = reference(**given)
    y.backward(torch.tensor(values["d_y"]))
    return {"y": y.detach().numpy(), **{f"d_{name}": value.grad.numpy() for name, value in given.items()}}


def variants(layer_type: str, attrs: Attrs, shape: Shape) -> list[str]:
    """Variants of the CPU kernels that run these shapes."""
    single = SingleLayer(layer_type, attrs, [Tensor(shape)], cpu())
    return [v for v in single.layer.variant_names("cpu") if single.layer.supports(single.t, v)]


def compare(
    layer_type: str, attrs: Attrs, shape: Shape, reference: Callable[..., Torch], *names: str, dtype: str = "float64"
) -> None:
    for variant in names or ("plain",):
        single = SingleLayer(layer_type, attrs, [Tensor(shape)], cpu(), variant=variant, dtype=dtype)
        values = drawn(single)
        given = {name: value.astype(dtype).astype(np.float64) for name, value in values.items()}
        forward = single.forward(values)
        got = {**forward, **single.backward({**values, **forward})}
        for name, want in wanted(given, reference).items():
            assert got[name].shape == want.shape
            error = np.abs(got[name] - want).max() / max(np.abs(want).max(), 1e-30)
            assert error < (EXACT if dtype == "float64" else SINGLE), f"{name}, {variant}"


def padded(x: Torch, attrs: Attrs) -> Torch:
    """x with its padding and, for windows over the edge, the zeros that they read."""
    single = layer_types()["conv"]
    defaults = {name: schema["default"] for name, schema in single.attrs_schema.items() if "default" in schema}
    window = window_of(single({**defaults, **attrs}).attrs, Tensor(tuple(x.shape)))
    sides = []
    for axis in (1, 0):  # torch names the last axis first
        reach = (window.out[axis] - 1) * window.stride[axis] + window.size[axis]
        sides += [window.pad[axis], reach - window.pad[axis] - x.shape[1 + axis]]
    return functional.pad(x.permute(0, 3, 1, 2), sides)


def convolution(attrs: Attrs) -> Callable[..., Torch]:
    def reference(x: Torch, weight: Torch, bias: Torch | None = None) -> Torch:
        groups, stride = attrs.get("groups", 1), attrs.get("stride", 1)
        y = functional.conv2d(padded(x, attrs), weight.permute(3, 2, 0, 1), bias, stride, groups=groups)
        return y.permute(0, 2, 3, 1)

    return reference


CONVOLUTIONS: list[tuple[Attrs, Shape]] = [
    ({"filters": 6, "size": 3}, (2, 7, 9, 4)),
    ({"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 2, 1], "groups": 2}, (3, 8, 8, 4)),
    ({"filters": 5, "size": 1}, (1, 1, 1, 3)),
    ({"filters": 5, "size": 1, "stride": 3}, (17, 5, 5, 3)),
    ({"filters": 7, "size": 5, "stride": 4, "rounding": "ceil", "bias": False}, (2, 8, 9, 5)),
    ({"filters": 3, "size": 3, "pad": 4}, (2, 3, 3, 2)),
    ({"filters": 3, "size": 2, "stride": 4, "rounding": "ceil", "groups": 3}, (2, 7, 7, 3)),
    ({"filters": 33, "size": 3, "pad": [1, 2], "stride": 2}, (18, 12, 11, 8)),
    ({"filters": 16, "size": 4, "stride": 2, "pad": 1}, (3, 8, 8, 16)),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("attrs", "shape"), CONVOLUTIONS)
def test_conv(attrs: Attrs, shape: Shape, dtype: str) -> None:
    compare("conv", attrs, shape, convolution(attrs), *variants("conv", attrs, shape), dtype=dtype)


def test_conv_of_2012_rounds_up() -> None:
    single = SingleLayer(
        "conv", {"filters": 2, "size": 11, "stride": 4, "rounding": "ceil"}, [Tensor((1, 224, 224, 3))], cpu()
    )
    assert single.t.y.shape == (1, 55, 55, 2)


VOLUMES: list[tuple[Attrs, Shape, Mapping[str, Any]]] = [
    ({"filters": 4, "size": 3}, (2, 4, 5, 6, 3), {}),
    ({"filters": 4, "size": [3, 2, 1], "stride": [1, 2, 2], "pad": [1, 0, 0], "groups": 2}, (2, 4, 6, 5, 6),
     {"stride": (1, 2, 2), "padding": (1, 0, 0), "groups": 2}),
    ({"filters": 3, "size": 2, "dilation": [1, 2, 1], "stride": 2, "pad": 1, "bias": False}, (1, 5, 6, 4, 2),
     {"dilation": (1, 2, 1), "stride": 2, "padding": 1}),
]  # fmt: skip


def first(volumes: Torch) -> Torch:
    """With the channels before depth, height and width."""
    return volumes.permute(0, 4, 1, 2, 3)


def last(volumes: Torch) -> Torch:
    return volumes.permute(0, 2, 3, 4, 1)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("attrs", "shape", "theirs"), VOLUMES)
def test_conv3d(attrs: Attrs, shape: Shape, theirs: Mapping[str, Any], dtype: str) -> None:
    def reference(x: Torch, weight: Torch, bias: Torch | None = None) -> Torch:
        return last(functional.conv3d(first(x), weight.permute(4, 3, 0, 1, 2), bias, **theirs))

    compare("conv3d", attrs, shape, reference, *variants("conv3d", attrs, shape), dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("attrs", "shape", "name", "theirs"),
    [
        ({"mode": "max", "size": 2, "stride": 2}, (2, 4, 6, 4, 3), "max_pool3d", {"stride": 2}),
        ({"mode": "max", "size": 3, "stride": [1, 2, 2], "pad": 1}, (2, 3, 5, 5, 2), "max_pool3d",
         {"stride": (1, 2, 2), "padding": 1}),
        ({"mode": "average", "size": 2, "stride": 1}, (2, 4, 3, 5, 3), "avg_pool3d", {"stride": 1}),
        ({"mode": "average", "size": 3, "stride": 2, "pad": 1}, (1, 5, 5, 5, 2), "avg_pool3d",
         {"stride": 2, "padding": 1, "count_include_pad": False}),
    ],
)  # fmt: skip
def test_pool3d(attrs: Attrs, shape: Shape, name: str, theirs: Mapping[str, Any], dtype: str) -> None:
    pool, size = getattr(functional, name), attrs["size"]
    compare("pool3d", attrs, shape, lambda x: last(pool(first(x), size, **theirs)), dtype=dtype)


def product(attrs: Attrs) -> Callable[..., Torch]:
    def reference(x: Torch, weight: Torch, bias: Torch | float = 0) -> Torch:
        groups, (*_, depth, units) = attrs.get("groups", 1), weight.shape
        shares = x.reshape(len(x), -1, groups, depth), weight.reshape(-1, depth, groups, units // groups)
        return torch.einsum("npgc,pcgu->ngu", *shares).reshape(len(x), units) + bias

    return reference


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("attrs", "shape"),
    [
        ({"units": 7}, (3, 4, 5, 6)),
        ({"units": 6}, (6, 6)),  # all matrices of one shape
        ({"units": 6, "groups": 2}, (6, 6)),
        ({"units": 1}, (1, 1, 1, 1)),
        ({"units": 600, "groups": 4, "bias": False}, (5, 1, 1, 8)),
        ({"units": 300}, (3, 600)),
    ],
)
def test_dense(attrs: Attrs, shape: Shape, dtype: str) -> None:
    compare("dense", attrs, shape, product(attrs), *variants("dense", attrs, shape), dtype=dtype)


def test_dense_groups_of_an_image_run_plain() -> None:
    attrs = {"units": 8, "groups": 2, "bias": False}
    single = SingleLayer("dense", attrs, [Tensor((3, 2, 2, 6))], cpu())
    assert not single.layer.supports(single.t, "gemm")
    compare("dense", attrs, (3, 2, 2, 6), product(attrs), dtype="float64")


def pooling(attrs: Attrs) -> Callable[..., Torch]:
    def reference(x: Torch) -> Torch:
        function = functional.max_pool2d if attrs["mode"] == "max" else functional.avg_pool2d
        options = {} if attrs["mode"] == "max" else {"count_include_pad": False}
        ceil = attrs.get("rounding") == "ceil"
        x = x.permute(0, 3, 1, 2)
        y = function(x, attrs["size"], attrs["stride"], attrs.get("pad", 0), ceil_mode=ceil, **options)
        return y.permute(0, 2, 3, 1)

    return reference


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("mode", ["max", "average"])
@pytest.mark.parametrize(
    ("attrs", "shape"),
    [
        ({"size": 3, "stride": 2}, (2, 7, 9, 4)),
        ({"size": 3, "stride": 2, "rounding": "ceil"}, (2, 8, 8, 3)),
        ({"size": [3, 2], "stride": [2, 1], "pad": [1, 1], "rounding": "ceil"}, (2, 8, 7, 3)),
        ({"size": 1, "stride": 1}, (1, 1, 1, 2)),
        ({"size": 2, "stride": 3}, (2, 9, 9, 5)),
        ({"size": 2, "stride": 3, "pad": 1, "rounding": "ceil"}, (2, 5, 5, 40)),
        ({"size": 5, "stride": 3, "pad": 2}, (2, 5, 5, 5)),
    ],
)
def test_pool(attrs: Attrs, shape: Shape, mode: str, dtype: str) -> None:
    attrs = {**attrs, "mode": mode}
    compare("pool", attrs, shape, pooling(attrs), dtype=dtype)


def pooled(x: Array, phase: Any = "train") -> tuple[SingleLayer, dict[str, Array]]:
    single = SingleLayer("pool", {"mode": "max", "size": 2}, [Tensor(x.shape)], cpu(), phase=phase)
    return single, single.forward({"x": x})


def test_the_first_of_equal_maxima_gets_the_gradient() -> None:
    x = np.ones((1, 2, 2, 1))
    single, forward = pooled(x)
    d_x = single.backward({"x": x, **forward, "d_y": np.full((1, 1, 1, 1), 3.0)})["d_x"]
    np.testing.assert_array_equal(d_x.reshape(4), [3, 0, 0, 0])


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("phase", ["train", "eval"])
def test_maxima_pass_nan_on(place: int, phase: str) -> None:
    x = np.arange(4.0).reshape(1, 2, 2, 1)
    x.reshape(4)[place] = np.nan
    _, forward = pooled(x, phase)
    assert np.isnan(forward["y"]).all()
    assert phase == "eval" or forward["argmax"].item() == place


def local_convolution(attrs: Attrs) -> Callable[..., Torch]:
    def reference(x: Torch, weight: Torch, bias: Torch | float = 0) -> Torch:
        out_h, out_w, size_h, size_w, depth, filters = weight.shape
        groups = attrs.get("groups", 1)
        stride_h, stride_w = attrs["stride"] if isinstance(attrs.get("stride"), list) else [attrs.get("stride", 1)] * 2
        patches = padded(x, attrs).unfold(2, size_h, stride_h).unfold(3, size_w, stride_w)
        patches = patches.reshape(len(x), groups, depth, out_h, out_w, size_h, size_w)
        weights = weight.reshape(out_h, out_w, size_h, size_w, depth, groups, filters // groups)
        return torch.einsum("ngcabij,abijcgf->nabgf", patches, weights).reshape(len(x), out_h, out_w, filters) + bias

    return reference


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("attrs", "shape"),
    [
        ({"filters": 6, "size": 3}, (2, 5, 6, 4)),
        ({"filters": 4, "size": [3, 2], "stride": [2, 1], "pad": [1, 0, 2, 1], "groups": 2}, (3, 5, 5, 4)),
        ({"filters": 5, "size": 1, "bias": False}, (1, 1, 1, 3)),
        ({"filters": 20, "size": 2, "stride": 3, "shared_bias": True, "rounding": "ceil"}, (5, 4, 4, 3)),
    ],
)
def test_local(attrs: Attrs, shape: Shape, dtype: str) -> None:
    compare("local", attrs, shape, local_convolution(attrs), dtype=dtype)


@pytest.mark.parametrize(
    ("layer_type", "attrs", "shape"),
    [
        ("conv", {"filters": 40, "size": 3, "pad": 1}, (33, 9, 9, 24)),
        ("conv", {"filters": 8, "size": 5, "stride": 2, "groups": 2}, (5, 13, 13, 6)),
        ("dense", {"units": 1000}, (7, 3, 3, 40)),
        ("pool", {"mode": "max", "size": 3, "stride": 2}, (5, 9, 9, 6)),
        ("local", {"filters": 8, "size": 3}, (4, 6, 6, 5)),
    ],
)
def test_any_team_gives_the_same_bits(layer_type: str, attrs: Attrs, shape: Shape, teams: list[CpuDevice]) -> None:
    for variant in variants(layer_type, attrs, shape):
        results = []
        for device in teams:
            single = SingleLayer(layer_type, attrs, [Tensor(shape)], device, variant=variant)
            values = drawn(single)
            forward = single.forward(values)
            results.append({**forward, **single.backward({**values, **forward})})
        for name, first in results[0].items():
            assert all(np.array_equal(first, other[name]) for other in results[1:]), f"{name}, {variant}"


@pytest.mark.parametrize(
    ("layer_type", "attrs", "shape", "words"),
    [
        (
            "conv",
            {"filters": 4, "size": 5},
            (1, 4, 9, 3),
            "(5, 5) (height, width) does not fit the input's height of 4",
        ),
        ("conv", {"filters": 4, "size": 1, "groups": 2}, (1, 4, 4, 3), "3 input channels cannot be divided into 2"),
        ("conv", {"filters": 3, "size": 1, "groups": 2}, (1, 4, 4, 4), "3 filters cannot be divided into 2"),
        ("conv", {"filters": 3, "size": 1}, (8, 4), "(batch, height, width, channels), got (8, 4)"),
        ("dense", {"units": 3, "groups": 2}, (1, 4), "3 units cannot be divided into 2"),
        ("dense", {"units": 3}, (1, 4, 4), "got (1, 4, 4)"),
        ("pool", {"mode": "max", "size": 2, "pad": 2}, (1, 4, 4, 1), "lie in padding of (2, 2, 2, 2) alone"),
        ("local", {"filters": 3, "size": 7, "pad": 1}, (1, 4, 4, 1), "which is 6 with its padding"),
    ],
)
def test_shapes_that_do_not_fit(layer_type: str, attrs: Attrs, shape: Shape, words: str) -> None:
    with pytest.raises(LayerError) as error:
        SingleLayer(layer_type, attrs, [Tensor(shape)], cpu())
    assert words in error.value.message
