"""A network of Caffe as a spec: its layers with Caffe's meaning, line by line.

Of Caffe: pooling rounds up, LRN divides alpha by the window's size, dropout scales in training, layers may write over
what they read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from netspec.errors import NetspecError, printable
from netspec.spec.scalars import text_of

Attrs = dict[str, Any]


class Unlike(Exception):
    """A layer, or a setting of one, that there is not here."""


class Net(NamedTuple):
    """A spec's text; layers here by layers there, of those that have weights; the layers that read the image."""

    text: str
    filters: Mapping[str, str]
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
        self.filters: dict[str, str] = {}
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
        readers = tuple(row["name"] for row in self.rows if self.image in _sources(row))
        return Net("\n".join(self._text()) + "\n", self.filters, self.image, readers)

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
        if kind == "softmax_loss":
            sources = [sources[0], LABEL]
        inputs = sources[0] if len(sources) == 1 else sources
        self.rows.append({"name": name, "type": kind, "inputs": inputs, **attrs})
        if kind in ("conv", "dense"):
            self.filters[name] = layer.name
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
        made = re.sub(r"[^A-Za-z0-9_-]", "_", wanted)[:100]
        made = made if re.match(r"[A-Za-z_]", made) and made != LABEL else f"layer_{made}"
        name, number = made, 1
        while name in {self.image, *(row["name"] for row in self.rows)}:
            number += 1
            name = f"{made}_{number}"
        return name

    def _text(self) -> Iterator[str]:
        yield f"# From {printable(self.file.name)} of Caffe."
        yield "netspec: 1"
        yield f"name: {text_of(re.sub(r'[^A-Za-z0-9_-]', '-', self.net.name).strip('-') or 'caffe')}"
        yield "devices: [main]"
        yield "inputs:"
        yield f"  {self.image}: {{shape: {list(self.shape)}}}"
        if any(row["type"] == "softmax_loss" for row in self.rows):
            yield f"  {LABEL}: {{dtype: int32}}"
        yield "layers:"
        for row in self.rows:
            yield f"  - {{{', '.join(f'{key}: {_text(value)}' for key, value in row.items())}}}"
        yield f"data: {{resize: {max(SHORT_SIDE, *self.shape[:2])}, crop: {self.shape[0]}, mirror: true, mean: image}}"


LABEL = "label"
SHORT_SIDE = 256
"""To which images are resized before they are cropped, as Caffe's data sets of ILSVRC are."""


def _sources(row: Mapping[str, Any]) -> Sequence[str]:
    return [row["inputs"]] if isinstance(row["inputs"], str) else row["inputs"]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    return text_of(value) if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)


# Layers: what each is here ------------------------------------------------------------------------------------------


def _check_blobs(layer: Any, kind: str | None) -> None:
    """Refuse what Caffe applies to several blobs at once, and what has none."""
    most = 2 if kind == "softmax_loss" else 1000 if kind in ("concat", "sum") else 1
    _refuse(not 1 <= len(layer.bottom) <= most, f"{len(layer.bottom)} blobs to read")
    _refuse(kind is not None and len(layer.top) > 1, f"{len(layer.top)} blobs to write")


def _refuse(wrong: bool, what: str) -> None:
    if wrong:
        raise Unlike(what)


def _pair(param: Any, name: str, default: int, stem: str | None = None) -> int | list[int]:
    """Height and width of a setting: ``name`` is one number or several, ``stem_h`` and ``stem_w`` two."""
    high, wide = (f"{stem or name}_{axis}" for axis in "hw")
    if param.HasField(high) or param.HasField(wide):
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
    _refuse(any(one != 1 for one in param.dilation), "dilation")
    _refuse(param.axis != 1, f"axis {param.axis}")
    attrs = {"filters": param.num_output, **_windows(param)}
    attrs |= {"groups": param.group} if param.group != 1 else {}
    return "conv", {**attrs, **({} if param.bias_term else {"bias": False})}


def _inner_product(layer: Any) -> tuple[str, Attrs]:
    param = layer.inner_product_param
    _refuse(param.axis != 1, f"axis {param.axis}")
    return "dense", {"units": param.num_output, **({} if param.bias_term else {"bias": False})}


def _pooling(layer: Any) -> tuple[str, Attrs]:
    param = layer.pooling_param
    _refuse(param.pool == 2, "stochastic pooling")
    _refuse(param.global_pooling, "global_pooling: write kernel_size in its place")
    windows = _windows(param)
    _refuse(param.pool == 1 and "pad" in windows, "an average that counts padding")
    rounding = {} if param.round_mode else {"rounding": "ceil"}
    return "pool", {"mode": "average" if param.pool else "max", **windows, **rounding}


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
    _refuse(layer.relu_param.negative_slope != 0, "negative_slope")
    return "relu", {}


def _concat(layer: Any) -> tuple[str, Attrs]:
    param = layer.concat_param
    _refuse(param.axis != 1 or param.concat_dim != 1, "axes other than the channels'")
    return "concat", {}


def _eltwise(layer: Any) -> tuple[str, Attrs]:
    _refuse(layer.eltwise_param.operation != 1, "an operation other than SUM")
    _refuse(any(one != 1 for one in layer.eltwise_param.coeff), "coefficients")
    return "sum", {}


def _softmax(layer: Any) -> tuple[str, Attrs]:
    _refuse(layer.softmax_param.axis not in (1, -1), f"axis {layer.softmax_param.axis}")
    return "softmax_loss", {}


LAYERS: Mapping[str, Callable[[Any], tuple[str | None, Attrs]]] = {
    "Convolution": _convolution,
    "InnerProduct": _inner_product,
    "Pooling": _pooling,
    "LRN": _lrn,
    "ReLU": _relu,
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
