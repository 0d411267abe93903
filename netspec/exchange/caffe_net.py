"""A network of Caffe as a spec: its layers with Caffe's meaning, line by line.

Of Caffe: pooling rounds up, LRN divides alpha by the window's size, dropout scales in training, layers may write over
what they read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netspec.contract.tensor import Tensor
from netspec.errors import NetspecError, printable
from netspec.exchange.spec_text import clean, spec_text, unique

Attrs = dict[str, Any]


class Unlike(Exception):
    """A layer, or a setting of one, that there is not here."""


class Net(NamedTuple):
    """A spec's text; by each layer here the one there, whose blobs it has; the layers that read the image."""

    text: str
    blobs: Mapping[str, str]
    image: str
    readers: tuple[str, ...]


def net_of(file: Path, net: Any, lines: Sequence[int]) -> Net:
    """The spec of a network. Raises NetspecError that names each layer that there is not here, with its line."""
    if net.layers or not net.layer:
        remedy = "Caffe's upgrade_net_proto_text makes it one" if net.layers else "is it a solver's?"
        raise NetspecError(f"{printable(file)}: there is no 'layer' in it ({remedy})")
    return _Writer(file, net, lines).made()


class _Writer:
    """What has been written so far: ``values`` has the layer here, or the input, that each blob there is."""

    def __init__(self, file: Path, net: Any, lines: Sequence[int]) -> None:
        self.file, self.net, self.lines = file, net, lines
        self.values: dict[str, str] = {}
        self.rows: list[Attrs] = []
        self.blobs: dict[str, str] = {}
        self.image, self.shape = "", ()
        self.problems: list[str] = []

    shape: tuple[int, ...]

    def made(self) -> Net:
        """All of it."""
        shapes = [list(one.dim) for one in self.net.input_shape] or [list(self.net.input_dim)]
        for name, shape in zip(self.net.input, shapes, strict=False):
            self._input("", name, shape)
        for number, layer in enumerate(self.net.layer):
            where = f"{printable(self.file)}:{self.lines[number] if number < len(self.lines) else 1}"
            if any(rule.phase == 0 and rule.HasField("phase") for rule in layer.include):
                continue  # for training alone
            try:
                self._layer(where, layer)
            except Unlike as error:
                self.problems.append(f"{where}: layer '{printable(layer.name)}' ({printable(layer.type)}): {error}")
        if not self.image and not self.problems:
            self.problems.append(f"{printable(self.file)}: no input (input_dim, input_shape or an Input layer)")
        if self.problems:
            raise NetspecError("\n".join(self.problems[:20]))
        readers = tuple(row["name"] for row in self.rows if self.image in row["inputs"])
        return Net(self._text(), self.blobs, self.image, readers)

    def _input(self, where: str, name: str, shape: Sequence[int]) -> None:
        if self.image:
            raise Unlike("a second input")
        if len(shape) != 4 or shape[1] not in (1, 3) or not all(0 < size < 2**15 for size in shape[2:]):
            raise Unlike(f"an input of shape {list(shape)[:8]}, where (N, 3 or 1, height, width) is an image")
        self.image = self.values[name] = self._name(name)
        self.shape = (shape[2], shape[3], shape[1])

    def _layer(self, where: str, layer: Any) -> None:
        if layer.type == "Input":
            shape = list(layer.input_param.shape[0].dim) if layer.input_param.shape else []
            return self._input(where, layer.top[0] if layer.top else layer.name, shape)
        if layer.type not in LAYERS:
            raise Unlike("there is no such layer here")
        kind, attrs = LAYERS[layer.type](layer)
        _check_blobs(layer, kind)
        sources = [self._source(blob) for blob in layer.bottom]
        if kind is None:
            return self._hand_on(layer, sources)
        name = self._name(layer.name)
        if layer.type == "Softmax" and any(blob in later.bottom for blob in layer.top for later in self.net.layer):
            kind = "softmax"
        if kind == "softmax_loss":
            sources = [sources[0], LABEL]
        self.rows.append({"name": name, "type": kind, "inputs": sources, **attrs})
        self.blobs[name] = layer.name
        for blob in layer.top:
            self.values[blob] = name
        return None

    def _hand_on(self, layer: Any, sources: Sequence[str]) -> None:
        for blob in layer.top:
            self.values[blob] = sources[0]

    def _source(self, blob: str) -> str:
        if blob not in self.values and blob != LABEL:
            raise Unlike(f"it reads '{printable(blob)}', which no layer above it gives")
        return self.values.get(blob, LABEL)

    def _name(self, wanted: str) -> str:
        """A name that a spec takes, and that no other layer has."""
        return unique(clean(wanted) or "layer", {LABEL, self.image, *self.blobs})

    def _text(self) -> str:
        inputs = {self.image: Tensor((1, *self.shape))}
        if any(row["type"] == "softmax_loss" for row in self.rows):
            inputs[LABEL] = Tensor((1,), "int32")
        data = {"resize": max(SHORT_SIDE, *self.shape[:2]), "crop": self.shape[0], "mirror": True, "mean": "image"}
        return spec_text(clean(self.net.name) or "caffe", ["main"], inputs, self.rows, data)


LABEL = "label"
SHORT_SIDE = 256
"""To which images are resized before they are cropped, as Caffe's data sets of ILSVRC are."""


# Layers: what each is here ------------------------------------------------------------------------------------------


def _check_blobs(layer: Any, kind: str | None) -> None:
    """Refuse what Caffe applies to several blobs at once, and what has none."""
    most = {"softmax_loss": 2, "product": 2, "axpby": 2, "concat": 1000, "sum": 1000}.get(kind or "", 1)
    _refuse(not 1 <= len(layer.bottom) <= most, f"{len(layer.bottom)} blobs to read")
    _refuse(kind is not None and len(layer.top) > 1, f"{len(layer.top)} blobs to write")


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise Unlike(what)


def _pair(param: Any, name: str, default: int, stem: str | None = None) -> int | list[int]:
    """Height and width of a setting: ``name`` is one number or several, ``stem_h`` and ``stem_w`` two."""
    high, wide = (f"{stem or name}_{axis}" for axis in "hw")
    if high in param.DESCRIPTOR.fields_by_name and (param.HasField(high) or param.HasField(wide)):
        pair = [getattr(param, high), getattr(param, wide)]
    else:
        given = getattr(param, name)
        values = [given] if isinstance(given, int) else list(given)
        _refuse(len(values) > 2, f"{name} of {len(values)} axes")
        pair = [values[0], values[-1]] if values else [default, default]
    _refuse(max(pair) >= 2**15, f"{name} of {max(pair)}")
    return pair[0] if pair[0] == pair[1] else pair


def _windows(param: Any) -> Attrs:
    """Size, stride and padding, those that are Caffe's defaults left out."""
    attrs: Attrs = {"size": _pair(param, "kernel_size", 0, "kernel")}
    stride, pad = _pair(param, "stride", 1), _pair(param, "pad", 0)
    return {**attrs, **({} if stride == 1 else {"stride": stride}), **({} if pad == 0 else {"pad": pad})}


def _convolution(layer: Any) -> tuple[str, Attrs]:
    param = layer.convolution_param
    _refuse(param.axis != 1, f"axis {param.axis}")
    attrs = {"filters": param.num_output, **_windows(param)}
    attrs |= {"groups": param.group} if param.group != 1 else {}
    attrs |= {} if (dilation := _pair(param, "dilation", 1)) == 1 else {"dilation": dilation}
    return "conv", {**attrs, **({} if param.bias_term else {"bias": False})}


def _deconvolution(layer: Any) -> tuple[str, Attrs]:
    _, attrs = _convolution(layer)
    return "conv_transpose", attrs


def _inner_product(layer: Any) -> tuple[str, Attrs]:
    param = layer.inner_product_param
    _refuse(param.axis != 1, f"axis {param.axis}")
    return "dense", {"units": param.num_output, **({} if param.bias_term else {"bias": False})}


def _pooling(layer: Any) -> tuple[str, Attrs]:
    param = layer.pooling_param
    _refuse(param.pool == 2, "stochastic pooling")
    mode = "average" if param.pool else "max"
    if param.global_pooling:
        return "pool", {"mode": mode, "size": "image"}
    windows = _windows(param)
    counted = {"count_include_pad": True} if param.pool and "pad" in windows else {}
    rounding = {} if param.round_mode else {"rounding": "ceil"}
    return "pool", {"mode": mode, **windows, **rounding, **counted}


def _lrn(layer: Any) -> tuple[str, Attrs]:
    param = layer.lrn_param
    attrs = {"size": param.local_size, **{key: _short(getattr(param, key)) for key in ("alpha", "beta", "k")}}
    if param.norm_region:
        return "lrn_within", {**attrs, "k": 1.0, "scaling": "window"}
    return "lrn", {**attrs, "scaling": "window"}


def _short(value: float) -> float:
    """A float32 as the shortest number that it stands for."""
    return float(f"{value:.7g}")


def _relu(layer: Any) -> tuple[str, Attrs]:
    slope = _short(layer.relu_param.negative_slope)
    _refuse(slope < 0, f"negative_slope of {slope}")
    return ("leaky_relu", {"slope": slope}) if slope else ("relu", {})


def _clip(layer: Any) -> tuple[str, Attrs]:
    low, high = _short(layer.clip_param.min), _short(layer.clip_param.max)
    _refuse(not low < high, f"bounds {low} and {high}")
    return "clip", {"low": low, "high": high}


def _concat(layer: Any) -> tuple[str, Attrs]:
    param = layer.concat_param
    _refuse(param.axis != 1 or param.concat_dim != 1, "axes other than the channels'")
    return "concat", {}


def _eltwise(layer: Any) -> tuple[str, Attrs]:
    param = layer.eltwise_param
    _refuse(param.operation == 2, "an operation other than SUM and PROD")
    plain = all(one == 1 for one in param.coeff)
    _refuse((param.operation == 0 or not plain) and len(layer.bottom) != 2, f"{len(layer.bottom)} blobs to read")
    if param.operation == 0:
        return "product", {}
    _refuse(not plain and len(param.coeff) != 2, f"{len(param.coeff)} coefficients")
    return ("sum", {}) if plain else ("axpby", dict(zip(("alpha", "beta"), map(_short, param.coeff), strict=True)))


def _softmax(layer: Any) -> tuple[str, Attrs]:
    _refuse(layer.softmax_param.axis not in (1, -1), f"axis {layer.softmax_param.axis}")
    return "softmax_loss", {}


def _batch_norm(layer: Any) -> tuple[str, Attrs]:
    param = layer.batch_norm_param
    return "batch_norm", {"momentum": _short(1 - param.moving_average_fraction), "epsilon": _short(param.eps)}


def _scale(layer: Any) -> tuple[str, Attrs]:
    param = layer.scale_param
    _refuse(param.axis != 1 or param.num_axes != 1, "axes other than the channels'")
    return "scale", {} if param.bias_term else {"bias": False}


def _prelu(layer: Any) -> tuple[str, Attrs]:
    _refuse(layer.prelu_param.channel_shared, "one slope for all channels")
    return "prelu", {}


LAYERS: Mapping[str, Callable[[Any], tuple[str | None, Attrs]]] = {
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Clip": _clip,
    "ReLU": _relu,
    "PReLU": _prelu,
    "ELU": lambda layer: ("elu", {"alpha": _short(layer.elu_param.alpha)}),
    "Sigmoid": lambda layer: ("logistic", {}),
    "TanH": lambda layer: ("tanh", {}),
    "Dropout": lambda layer: (
        "dropout",
        {"keep": _short(1 - layer.dropout_param.dropout_ratio), "mode": "inverted"},
    ),
    "Concat": _concat,
    "Eltwise": _eltwise,
    "Softmax": _softmax,
    "SoftmaxWithLoss": _softmax,
    "Split": lambda layer: (None, {}),
}
"""What a layer is here, with which attributes; None: what it reads."""
