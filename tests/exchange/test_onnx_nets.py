"""ONNX models that other programs write, in their ways: what comes of them answers as ONNX Runtime does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
import onnxruntime as runtime
from onnx import helper, numpy_helper
from onnx_graphs import FLOAT, Model, torchvision_alexnet
from onnx_nets import answered, imported

from netspec.errors import NetspecError
from netspec.exchange.formats import Asked
from netspec.spec import load

Array = np.ndarray[Any, Any]


def softmax(array: Array) -> Array:
    powers = np.exp(array - array.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


def check(model: Any, feed: Array, folder: Path, asked: Asked | None = None, logits: bool = True) -> list[str]:
    """The imported network answers as ONNX Runtime, one device or two; gives the types of its layers."""
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": feed})
    theirs = softmax(theirs) if logits else theirs
    asked = asked or Asked()
    done = imported(model, folder, asked)
    ours = answered(done.file, [feed])
    np.testing.assert_allclose(ours.reshape(theirs.shape), theirs, rtol=1e-4, atol=1e-6)
    assert np.ptp(theirs) > 1e-3
    assert done.spec is not None
    return [layer.type for layer in load(done.spec).layers]


def numbers(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("flat", ["Flatten", "Reshape"])
def test_torchvision_alexnet(flat: str, tmp_path: Path) -> None:
    model = torchvision_alexnet(flat=flat)
    types = check(model, numbers(2, 3, 63, 63), tmp_path)
    convolutions = ["conv", "relu", "pool"] * 2 + ["conv", "relu"] * 2 + ["pool"]
    assert types == [*convolutions, "dropout", "dense", "relu", "dense", "softmax_loss"]
    names = [layer.name for layer in load(tmp_path / "net.yaml").layers]
    assert {"features-0", "features-3", "classifier-1", "classifier-6"} < set(names)
    check(model, numbers(2, 3, 63, 63), tmp_path, Asked(devices=("left", "right")))


def test_weights_of_a_flattened_image_are_reordered(tmp_path: Path) -> None:
    m = Model("N", 4, 5, 6)
    v = m.add("Relu", m.add("Flatten", m.add("Conv", "x", m.weight(6, 4, 3, 3), m.weight(6))))
    types = check(m.made(m.add("Gemm", v, m.weight(5, 72), m.weight(5), transB=1)), numbers(3, 4, 5, 6), tmp_path)
    assert types == ["conv", "relu", "dense", "softmax_loss"]


def caffe_towers() -> Any:
    """As converters of the AlexNet of 2012 write it: groups, LRN, pools rounded up, a Softmax, weights among inputs."""
    m = Model(1, 3, 31, 31, opset=10)
    v = m.add("Relu", m.add("Conv", "x", m.weight(8, 3, 5, 5), m.weight(8), strides=[2, 2]))
    v = m.add("LRN", v, size=5, alpha=0.3, beta=0.75, bias=1.0)
    v = m.add("MaxPool", v, kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    v = m.add("Relu", m.add("Conv", v, m.weight(8, 4, 5, 5), m.weight(8), pads=[2, 2, 2, 2], group=2))
    v = m.add("Reshape", v, m.constant(np.array([1, 8 * 49])))
    v = m.add("Dropout", m.add("Relu", m.add("Gemm", v, m.weight(16, 392), m.weight(16), transB=1)), ratio=0.5)
    v = m.add("Gemm", v, m.weight(16, 6), m.weight(6))
    model = m.made(m.add("Softmax", v, axis=1))
    for one in m.constants:  # initialisers are inputs too in old files
        model.graph.input.append(helper.make_tensor_value_info(one.name, one.data_type, one.dims))
    return model


def test_two_towers_of_converters(tmp_path: Path) -> None:
    types = check(caffe_towers(), numbers(1, 3, 31, 31), tmp_path, logits=False)
    assert types.count("lrn") == 1 and types[-1] == "softmax_loss"
    check(caffe_towers(), numbers(1, 3, 31, 31), tmp_path, Asked(devices=("a", "b")), logits=False)


def test_towers_taken_apart_by_split(tmp_path: Path) -> None:
    m = Model("N", 3, 12, 12)
    whole = m.add("Relu", m.add("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8)))
    towers = []
    for half in m.add("Split", whole, count=2, axis=1):
        v = m.add("LRN", half, size=3, alpha=0.5, beta=0.75, bias=2.0)
        v = m.add("Relu", m.add("Conv", v, m.weight(6, 4, 3, 3), m.weight(6), pads=[1] * 4))
        towers.append(m.add("MaxPool", v, kernel_shape=[3, 3], strides=[2, 2]))
    v = m.add("Flatten", m.add("Concat", *towers, axis=1))
    types = check(m.made(m.add("Gemm", v, m.weight(12 * 16, 5))), numbers(2, 3, 12, 12), tmp_path)
    assert types == ["conv", "relu", "lrn", "conv", "relu", "pool", "dense", "softmax_loss"]
    groups = [layer.attrs.get("groups") for layer in load(tmp_path / "net.yaml").layers]
    assert groups[2:4] == [2, 2]


def test_batch_normalisation_goes_into_the_convolution_before_it(tmp_path: Path) -> None:
    m = Model("N", 3, 9, 9)

    def normalised(v: str, channels: int) -> Any:
        stored = [m.constant(m.chance.uniform(0.5, 2, channels)) for _ in range(4)]
        return m.add("BatchNormalization", v, *stored, epsilon=1e-3)

    first = m.add("Relu", normalised(m.add("Conv", "x", m.weight(6, 3, 3, 3), pads=[1] * 4), 6))
    second = normalised(m.add("Conv", first, m.weight(6, 6, 3, 3), m.weight(6), pads=[1] * 4), 6)
    v = m.add("Relu", m.add("Add", second, first))  # a block of a residual network
    v = normalised(v, 6)  # of what no convolution gives
    v = m.add("Flatten", m.add("GlobalAveragePool", v))
    types = check(m.made(m.add("MatMul", v, m.weight(6, 5))), numbers(2, 3, 9, 9), tmp_path)
    assert types == ["conv", "relu", "conv", "sum", "relu", "scale", "pool", "dense", "softmax_loss"]


def keras_style() -> Any:
    """Channels last outside, as converters from TensorFlow write it: Transpose, SAME padding, Pad, MatMul and Add."""
    m = Model("N", 13, 11, 3)
    v = m.add("Transpose", m.add("Mul", "x", m.constant(np.float32(0.5))), perm=[0, 3, 1, 2])
    v = m.add("Pad", v, m.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])), m.constant(np.float32(0)))
    v = m.add("Tanh", m.add("Conv", v, m.weight(5, 3, 3, 4), strides=[2, 1]))
    v = m.add("Add", v, m.weight(5, 1, 1))
    v = m.add("Sigmoid", m.add("Conv", v, m.weight(6, 5, 3, 3), m.weight(6), auto_pad="SAME_UPPER", strides=[2, 2]))
    v = m.add("AveragePool", v, kernel_shape=[2, 2], auto_pad="SAME_LOWER")
    v = m.add("Transpose", v, perm=[0, 2, 3, 1])
    v = m.add("Reshape", v, m.constant(np.array([-1, 6 * 3 * 6])))
    return m.made(m.add("Add", m.add("MatMul", v, m.weight(108, 4)), m.weight(4)))


def test_channels_last_outside(tmp_path: Path) -> None:
    model, feed = keras_style(), numbers(2, 13, 11, 3)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, {"x": feed})
    done = imported(model, tmp_path)
    assert done.spec is not None and load(done.spec).inputs["x"].shape == (13, 11, 3)
    scale = load(done.spec).data.scale
    ours = answered(done.file, [np.moveaxis(feed, -1, 1)])  # answered() puts channels last itself
    assert scale == 0.5
    np.testing.assert_allclose(ours, softmax(theirs), rtol=1e-4, atol=1e-6)


def torch_lrn(m: Model, v: str, size: int) -> Any:
    """torch.nn.LocalResponseNorm as its exporter writes it."""
    squares = m.add("Unsqueeze", m.add("Mul", v, v), m.constant(np.array([1])))
    pads = [0, 0, size // 2, 0, 0, 0, 0, (size - 1) // 2, 0, 0]
    padded = m.add("Pad", squares, m.constant(np.array(pads)), m.constant(np.float32(0)))
    means = m.add("AveragePool", padded, kernel_shape=[size, 1, 1], strides=[1, 1, 1])
    means = m.add("Mul", m.add("Squeeze", means, m.constant(np.array([1]))), m.constant(np.float32(0.4)))
    scale = m.add("Pow", m.add("Add", means, m.constant(np.float32(2))), m.constant(np.float32(0.75)))
    return m.add("Div", v, scale)


@pytest.mark.parametrize("size", [3, 4, 5])
def test_response_normalisation_as_torch_writes_it(size: int, tmp_path: Path) -> None:
    m = Model("N", 3, 6, 6)
    v = torch_lrn(m, m.add("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8)), size)
    types = check(m.made(m.add("Gemm", m.add("Flatten", v), m.weight(128, 5))), numbers(2, 3, 6, 6), tmp_path)
    assert types == ["conv", "lrn", "dense", "softmax_loss"]
    attrs = load(tmp_path / "net.yaml").layers[1].attrs
    assert (attrs["size"], attrs["alpha"], attrs["k"], attrs["scaling"]) == (size, 0.4, 2.0, "window")


def inception() -> Any:
    m = Model("N", 3, 8, 8)
    v = m.add("Relu", m.add("Conv", "x", m.weight(6, 3, 1, 1), m.weight(6)))
    arms = [
        m.add("Conv", v, m.weight(4, 6, 1, 1), m.weight(4)),
        m.add("Conv", v, m.weight(2, 6, 3, 3), m.weight(2), pads=[1] * 4),
        m.add("MaxPool", v, kernel_shape=[3, 3], pads=[1] * 4),
    ]
    v = m.add("AveragePool", m.add("Concat", *arms, axis=1), kernel_shape=[8, 8])
    v = m.add("Squeeze", m.add("Conv", v, m.weight(5, 12, 1, 1), m.weight(5)), m.constant(np.array([2, 3])))
    return m.made(v)


def joined_rows() -> Any:
    m = Model("N", 3, 4, 5)
    a = m.add("Flatten", m.add("Conv", "x", m.weight(2, 3, 3, 3), m.weight(2)))
    b = m.add("Flatten", m.add("Conv", "x", m.weight(4, 3, 2, 2), m.weight(4)))
    return m.made(m.add("Gemm", m.add("Concat", a, b, axis=1), m.weight(2 * 6 + 4 * 12, 5), m.weight(5)))


def sliced() -> Any:
    m = Model("N", 6, 4, 4)
    v = m.add("Flatten", m.add("Relu", "x"))
    v = m.add("Slice", v, *(m.constant(np.array([one])) for one in (3, 90, 1, 3)))
    return m.made(m.add("Gemm", v, m.weight(29, 5), m.constant(np.float32(0.5)), alpha=0.5, beta=2.0))


def whole_image_kernels() -> Any:
    m = Model("N", 12)
    v = m.add("Reshape", m.add("Gemm", "x", m.weight(12, 24)), m.constant(np.array([0, 6, 2, 2])))
    v = m.add("Conv", m.add("Tanh", v), m.weight(8, 6, 2, 2), m.weight(8))
    v = m.add("Conv", v, m.weight(6, 4, 1, 1), m.weight(6), group=2)
    return m.made(m.add("Reshape", m.add("Identity", v), m.constant(np.array([-1, 6]))))


def halves() -> Any:
    """A value of float16 weights."""
    m = Model("N", 5)
    m.constants.append(numpy_helper.from_array(m.chance.normal(size=(5, 4)).astype(np.float16), "half"))
    return m.made(m.add("MatMul", "x", m.add("Cast", "half", to=FLOAT)))


@pytest.mark.parametrize(
    ("make", "shape", "divides"),
    [
        (inception, (2, 3, 8, 8), True),
        (joined_rows, (2, 3, 4, 5), True),
        (sliced, (2, 6, 4, 4), False),
        (whole_image_kernels, (2, 12), True),
        (halves, (3, 5), False),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_other_ways_to_write_a_network(
    make: Callable[[], Any], shape: tuple[int, ...], divides: bool, tmp_path: Path
) -> None:
    check(make(), numbers(*shape), tmp_path)
    expected = contextlib.nullcontext() if divides else pytest.raises(NetspecError, match="no layer divides by 2")
    with expected:
        check(make(), numbers(*shape), tmp_path, Asked(devices=("left", "right")))


def test_images_are_prepared_as_the_graph_does(tmp_path: Path) -> None:
    """Means and deviations by channel: what is no single number goes into the first convolution, padding and all."""
    m = Model("N", 3, 6, 6)
    v = m.add("Sub", "x", m.constant(np.array([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1)))
    v = m.add("Div", v, m.constant(np.array([0.2, 0.3, 0.4]).reshape(3, 1, 1)))
    v = m.add("Conv", v, m.weight(4, 3, 3, 3), m.weight(4), pads=[1] * 4)
    types = check(m.made(m.add("Flatten", m.add("GlobalMaxPool", v))), numbers(2, 3, 6, 6), tmp_path)
    assert types == ["conv", "pool", "flatten", "softmax_loss"]
    assert load(tmp_path / "net.yaml").data.mean == "channel"


def test_mean_and_std_are_put_before_it(tmp_path: Path) -> None:
    from netspec import predict

    m = Model("N", 3, 6, 6)
    v = m.add("Conv", "x", m.weight(4, 3, 3, 3), m.weight(4), pads=[1] * 4)
    model = m.made(m.add("Flatten", m.add("GlobalMaxPool", v)))
    mean, std = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
    done = imported(model, tmp_path, Asked(mean=mean, std=std))
    images = np.random.default_rng(2).integers(0, 256, (3, 6, 6, 3), np.uint8)
    feed = ((images - np.float32(mean)) / np.float32(std)).transpose(0, 3, 1, 2).astype(np.float32)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = softmax(session.run(None, {"x": feed})[0])
    for row, seen in zip(expected, predict(done.file, list(images), top=4), strict=True):
        np.testing.assert_allclose([dict(seen.top)[str(i)] for i in range(4)], row, rtol=1e-4, atol=1e-6)


def every_activation(m: Model, v: str) -> str:
    for op, attributes in (("LeakyRelu", {"alpha": 0.2}), ("Elu", {"alpha": 0.5}), ("HardSwish", {})):
        v = m.add(op, v, **attributes)
    for bounds in ((-1, None), (None, 1.5), (-0.9, 6), (0, None)):
        v = m.add("Clip", v, *("" if one is None else m.constant(np.float32(one)) for one in bounds))
    return str(m.add("PRelu", v, m.weight(6, 1, 1)))


def several_values(m: Model, v: str) -> str:
    other = m.add("Sigmoid", v)
    return str(m.add("Sub", m.add("Mul", v, other), m.add("Tanh", v)))


def torch_group_norm(m: Model, v: str) -> str:
    """torch.nn.GroupNorm as its exporter writes it."""
    apart = m.add("Reshape", v, m.constant(np.array([0, 3, -1])))
    ones, zeros = m.constant(np.ones(3)), m.constant(np.zeros(3))
    v = m.add("Reshape", m.add("InstanceNormalization", apart, ones, zeros, epsilon=1e-3), m.add("Shape", v))
    return str(m.add("Add", m.add("Mul", v, m.weight(6, 1, 1)), m.weight(6, 1, 1)))


def channels_last_norm(m: Model, v: str) -> str:
    """A layer normalisation over channels as networks of blocks like ConvNeXt have it."""
    last = m.add("Transpose", v, perm=[0, 2, 3, 1])
    norm = m.add("LayerNormalization", last, m.weight(6), m.weight(6), axis=-1, epsilon=1e-3)
    return str(m.add("Transpose", norm, perm=[0, 3, 1, 2]))


def padded_and_resized(m: Model, v: str) -> str:
    v = m.add("Relu", m.add("Pad", v, m.constant(np.array([0, 0, 1, 2, 0, 0, -1, 0])), m.constant(np.float32(0.25))))
    v = m.add("MaxPool", m.add("Pad", v, m.constant(np.array([0, 0, 1, 0, 0, 0, 0, 1]))), kernel_shape=[2, 2])
    how = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    return str(m.add("Resize", v, "", m.constant(np.float32([1, 1, 3, 2])), **how))


def dilated(m: Model, v: str) -> str:
    v = m.add("Conv", v, m.weight(6, 3, 3, 2), pads=[1, 2, 0, 1], dilations=[2, 3], group=2)
    v = m.add("Conv", v, m.weight(6, 6, 3, 3), pads=[2] * 4, dilations=[2, 2])
    v = m.add("MaxPool", v, kernel_shape=[2, 3], pads=[1] * 4, dilations=[2, 1])
    return str(m.add("AveragePool", v, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], count_include_pad=1))


def gelus(m: Model, v: str) -> str:
    """As PyTorch's two exporters write it, and netspec's."""
    half, one = (m.constant(np.float32(number)) for number in (0.5, 1))
    root = m.add("Constant", value=numpy_helper.from_array(np.float32([2**0.5])))
    v = m.add("Mul", m.add("Mul", v, m.add("Add", m.add("Erf", m.add("Div", v, root)), one)), half)
    other = m.constant(np.float32(0.5**0.5))
    v = m.add("Mul", m.add("Mul", half, v), m.add("Add", one, m.add("Erf", m.add("Mul", v, other))))
    return str(m.add("Mul", v, m.add("Mul", half, m.add("Add", one, m.add("Erf", m.add("Mul", other, v))))))


def excited(m: Model, v: str) -> str:
    """Squeeze and excitation, by convolutions and by products of rows."""
    s = m.add("Relu", m.add("Conv", m.add("GlobalAveragePool", v), m.weight(2, 6, 1, 1)))
    v = m.add("Mul", v, m.add("Sigmoid", m.add("Conv", s, m.weight(6, 2, 1, 1))))
    s = m.add("Sigmoid", m.add("Gemm", m.add("Flatten", m.add("GlobalAveragePool", v)), m.weight(6, 6)))
    return str(m.add("Mul", m.add("Reshape", s, m.constant(np.array([0, 6, 1, 1]))), v))


def channels_apart(m: Model, v: str) -> str:
    """Two branches of some channels each, as in ShuffleNet V2, of which one is read twice."""
    a, b = m.add("Split", v, m.constant(np.array([3, 3])), axis=1, count=2)
    b = m.add("Relu", m.add("Conv", b, m.weight(3, 3, 1, 1)))
    return str(m.add("Add", m.add("Concat", a, b, axis=1), m.add("Concat", b, a, axis=1)))


def padded_apart(m: Model, v: str) -> str:
    """Some channels with zeros at other sides each time, combined with what has all of them."""
    some, _ = m.add("Split", v, m.constant(np.array([3, 3])), axis=1, count=2)
    v = m.add("ConvTranspose", v, m.weight(6, 3, 2, 2))
    sides = ((1, 1, 0, 0), (0, 0, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0))
    for one in [m.add("Pad", some, m.constant(np.array([0, 0, *at[:2], 0, 0, *at[2:]]))) for at in sides]:
        v = m.add("Mul", one, v)
    return str(m.add("Conv", v, m.weight(6, 3, 1, 1)))


def turned(m: Model, v: str) -> str:
    v = m.add("Conv", m.add("Transpose", v, perm=[0, 1, 3, 2]), m.weight(6, 6, 2, 1))
    some = m.add("Slice", v, m.constant(np.array([1])), m.constant(np.array([5])), m.constant(np.array([1])))
    return str(m.add("Conv", some, m.weight(6, 4, 1, 1)))


def upwards(m: Model, v: str) -> str:
    shape = {"kernel_shape": [3, 3], "strides": [2, 2]}
    v = m.add("ConvTranspose", v, m.weight(6, 4, 3, 3), m.weight(8), group=2, pads=[1, 1, 1, 1], output_padding=[1, 0],
              **shape)
    v = m.add("BatchNormalization", v, m.weight(8), m.weight(8), m.weight(8), m.constant(np.ones(8)))
    return str(m.add("ConvTranspose", v, m.weight(8, 6, 3, 3), output_shape=[20, 17], auto_pad="SAME_LOWER", **shape))


@pytest.mark.parametrize(
    ("write", "types"),
    [
        (gelus, ["gelu"] * 3),
        (excited, ["pool", "conv", "relu", "conv", "logistic", "gate", "pool", "dense", "logistic", "gate"]),
        (channels_apart, ["slice", "slice", "conv", "relu", "concat", "concat", "sum"]),
        (padded_apart, ["conv_transpose", "slice", *["pad", "product"] * 4, "conv"]),
        (turned, ["permute", "conv", "slice", "conv"]),
        (upwards, ["conv_transpose"] * 2),
        (every_activation, ["leaky_relu", "elu", "hardswish", *["clip"] * 3, "relu", "prelu"]),
        (several_values, ["logistic", "product", "tanh", "axpby"]),
        (torch_group_norm, ["group_norm"]),
        (lambda m, v: m.add("InstanceNormalization", v, m.weight(6), m.weight(6)), ["group_norm"]),
        (channels_last_norm, ["layer_norm"]),
        (padded_and_resized, ["pad", "relu", "pad", "pool", "upsample"]),
        (dilated, ["conv", "conv", "pool", "pool"]),
        (lambda m, v: m.add("Softmax", v, axis=1), ["softmax"]),
    ],
)
def test_layers_in_the_middle_of_a_network(
    write: Callable[[Model, str], str], types: list[str], tmp_path: Path
) -> None:
    """Each as one layer here, and after a value that is read twice."""
    m = Model("N", 3, 8, 7)
    start = m.add("Conv", "x", m.weight(6, 3, 2, 2), m.weight(6))
    v = m.add("Flatten", m.add("GlobalMaxPool", write(m, start)))
    whole = m.add("Flatten", m.add("GlobalAveragePool", start))
    v = m.add("Gemm", m.add("Concat", v, whole, axis=1), m.weight(12, 5))
    found = check(m.made(v), numbers(2, 3, 8, 7), tmp_path)
    assert found == ["conv", *types, "pool", "pool", *["flatten"] * 2, "concat", "dense", "softmax_loss"]
    check(m.made(v), numbers(2, 3, 8, 7), tmp_path, Asked(devices=("left", "right")))


def test_a_network_of_numbers(tmp_path: Path) -> None:
    m = Model("N", 6)
    model = m.made(m.add("Gemm", m.add("Relu", m.add("Gemm", "x", m.weight(6, 8))), m.weight(8, 3)))
    assert check(model, numbers(4, 6), tmp_path, Asked(cost="mse"), logits=False)[-1] == "mse"
    assert check(model, numbers(4, 6), tmp_path, Asked(cost="none"), logits=False)[-1] == "dense"


def test_signals_are_images_of_height_one(tmp_path: Path) -> None:
    """Convolutions and pools of one axis, whose constants are by channel; what follows reads rows."""
    m = Model("N", 4, 19)
    v = m.add("Conv", "x", m.weight(6, 2, 3), m.weight(6), pads=[1, 2], strides=[2], group=2)
    v = m.add("Relu", m.add("BatchNormalization", v, *(m.weight(6) for _ in range(3)), m.constant(np.ones(6))))
    v = m.add("MaxPool", v, kernel_shape=[3], strides=[2], pads=[1, 1])
    v = m.add("ConvTranspose", v, m.weight(6, 5, 4), strides=[2], pads=[1, 1], dilations=[1])
    v = m.add("AveragePool", v, kernel_shape=[2], strides=[2])
    v = m.add("Gemm", m.add("Flatten", v), m.weight(25, 5))
    found = check(m.made(v), numbers(2, 4, 19), tmp_path)
    assert found == ["conv", "relu", "pool", "conv_transpose", "pool", "dense", "softmax_loss"]
