"""A network as a module of PyTorch: the text of a file of Python, and the tensors of its state dict."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from netspec.contract.layer import Layer, Tensors
from netspec.contract.tensor import Tensor
from netspec.errors import LayerError, NetspecError
from netspec.exchange.merging import Cut, Merger, stored
from netspec.exchange.torch_code import Code, Line, Stored
from netspec.planning.build import answer_of
from netspec.planning.network import is_image
from netspec.planning.shards import Shard
from netspec.spec.types import Spec


class Call(NamedTuple):
    """The cost layer that gives the network's answer: in PyTorch, what a loss function and prediction begin with."""

    layer: Layer
    t: Tensors
    value: str
    output: str


class TorchForm(Merger):
    """A network in PyTorch: ``tensors`` of its state dict by name, and ``source``."""

    def __init__(self, spec: Spec) -> None:
        self.code = Code()
        super().__init__(spec, self.code)
        answer = answer_of(self.network)
        assert answer is not None
        self.answer = answer.of
        self.call: Call | None = None
        self.inputs: dict[str, tuple[str, Tensor]] = {}
        """By the name of an argument of ``forward``: the input that it is, and its tensor."""
        self.means: dict[str, str] = {}
        for value in [self.network.values[name][""] for name in spec.inputs]:
            if value.parts:
                self.names[value.key] = self._input(str(value.key), value.parts[0].tensor)
        self.layers()
        result = self.call.value if self.call else self.names[self.answer]
        self.lines, self.result = _needed(self.code.lines, result)

    @property
    def tensors(self) -> Mapping[str, Stored]:
        """The state dict's tensors by name, in the order of the network: those that its answer depends on."""
        texts = "\n".join([self.result, *(line.text for line in self.lines)])
        used = set(re.findall(r"\bself\.(\w+)", texts))
        return {name: one for name, one in self.code.tensors.items() if name.partition(".")[0] in used}

    def _input(self, name: str, tensor: Tensor) -> str:
        """A network input as the layers read it."""
        argument = self.code.variable(name)
        self.inputs[argument] = name, tensor
        if not is_image(tensor):
            value = self.code.channels_first(argument, tensor)
        else:
            mean, scale = self.code.name(f"{argument}_mean"), self.spec.data.scale
            rank = len(tensor.shape) - 1
            order, shape = (*range(rank - 3), rank - 1, rank - 3, rank - 2), tensor.shape[1:]
            there = tuple(shape[axis] for axis in order)
            self.code.tensors[mean] = Stored(f"{name}.mean", None, None, shape, order, there)
            self.means[mean] = f'self.register_buffer("{mean}", torch.zeros({", ".join(map(str, there))}))'
            value = f"{argument} - self.{mean}" if scale == 1 else f"({argument} - self.{mean}) * {scale!r}"
        return self.code.value(f"{name}.read", value)

    def written(
        self, shard: Shard, layer: Layer, t: Tensors, values: Sequence[str], cut: Cut | None = None
    ) -> Mapping[str, str]:
        """The expressions of a layer, each under a name."""
        end = "" if cut is None else f"-{cut[0]}"
        spec, code = shard.spec, self.code
        code.layer, code.owner = f"{spec.name}{end}", f"{spec.share or spec.name}{end}"
        owner = spec.share or spec.name
        code.params = {name: (f"{owner}.{name}", axis, cut, t[name].shape) for name, axis in stored(shard).items()}
        values = [one if _VALUE.fullmatch(one) else code.value(f"{code.layer}-joined", one) for one in values]
        made = self._asked(spec.name, layer, t, values)
        if layer.reports and spec.name == self.answer.owner and len(values) == 1:
            self.call = Call(layer, t, values[0], self.answer.tensor)
        named = {name: code.layer if len(made) == 1 else f"{code.layer}-{name}" for name in made}
        return {name: code.value(named[name], text) for name, text in made.items()}

    def _asked(self, name: str, layer: Layer, t: Tensors, values: Sequence[str]) -> Mapping[str, str]:
        try:
            made = layer.torch(self.code, t, *values)
        except LayerError as error:
            raise NetspecError(f"{name}: {error.message}") from None
        return {"y": made} if isinstance(made, str) else dict(made)

    # The text -------------------------------------------------------------------------------------------------------

    def source(self, title: str, weights: str, about: Sequence[str]) -> str:
        """The file: ``title`` begins its docstring, ``about`` are lines of it on images, ``weights`` the state dict's
        file beside it."""
        predict = self._predict()
        call = f"net{'.predict' * bool(predict)}({self._signature})"
        shapes = "; ".join(f"{name}: {_shape(tensor)}" for name, (_, tensor) in self.arguments().items())
        head = [f'"""{title}', "", *about, f"Reads {shapes}.", "", "    net = load()"]
        head += ["    with torch.inference_mode():", f"        answer = {call}"]
        lines = [*head, '"""', "", *IMPORTS, "", f'WEIGHTS = Path(__file__).with_name("{weights}")', "", ""]
        kept = {name.partition(".")[0] for name in self.tensors} | set(re.findall(r"\bself\.(\w+)", self._texts))
        for name, text in self.code.helpers.items():
            if any(made.startswith(f"{name}(") for at, made in self.code.modules.items() if at in kept):
                lines += [text, "", ""]
        lines += ["class Net(nn.Module):", f'    """{self.spec.name}."""', "", "    def __init__(self):"]
        lines += ["        super().__init__()"]
        lines += [f"        {made}" for name, made in self.means.items() if name in kept]
        lines += [f"        self.{name} = {made}" for name, made in self.code.modules.items() if name in kept]
        lines += [f"        self.{one} = self.{other}" for one, other in self.code.ties.items() if one in self.tensors]
        lines += ["", f"    def forward(self, {self._signature}):", *self._forward(), *predict, "", "", *LOAD]
        return "\n".join(lines) + "\n"

    @property
    def _texts(self) -> str:
        return "\n".join([self.result, *(line.text for line in self.lines)])

    @property
    def _signature(self) -> str:
        return ", ".join(self.arguments())

    def arguments(self) -> dict[str, tuple[str, Tensor]]:
        """The arguments of ``forward``, the inputs that the answer depends on: name here and tensor by argument."""
        return {name: one for name, one in self.inputs.items() if re.search(rf"(?<![\w.]){name}\b", self._texts)}

    def _forward(self) -> list[str]:
        texts = _in_words(self.lines, self.result)
        return [f"        {text}" for text in texts]

    def _predict(self) -> list[str]:
        """The method that goes on from what ``forward`` gives to the answer, where there is more to it."""
        if self.call is None:
            return []
        made = self._asked("", self.call.layer, self.call.t, [f"self({self._signature})"])[self.call.output]
        if made == f"self({self._signature})":
            return []
        return ["", f"    def predict(self, {self._signature}):", f"        return {made}"]


IMPORTS = (
    "from pathlib import Path",
    "",
    "import torch",
    "from safetensors.torch import load_file",
    "from torch import nn",
    "from torch.nn import functional as F",
)
LOAD = (
    "def load(file=WEIGHTS):",
    '    """The network with its weights, as it predicts; ``.train()`` makes it one to train on."""',
    "    net = Net()",
    "    net.load_state_dict(load_file(file))",
    "    return net.eval()",
)
_VALUE = re.compile("«([^«»]*)»")


def _shape(tensor: Tensor) -> str:
    """The shape of an argument in words."""
    shape = list(tensor.shape[1:])
    if len(shape) in (3, 4):
        shape.insert(-2, shape.pop())
    return f"(N, {', '.join(map(str, shape))})"


def _needed(lines: Sequence[Line], result: str) -> tuple[list[Line], str]:
    """The lines that a result depends on; those that are another value alone are gone."""
    same: dict[str, str] = {}
    kept = []
    for line in lines:
        text = _VALUE.sub(lambda match: same.get(match[1], match[0]), line.text)
        if _VALUE.fullmatch(text) or text.isidentifier():
            same[line.value] = text
        else:
            kept.append(Line(line.value, text))
    result = _VALUE.sub(lambda match: same.get(match[1], match[0]), result)
    used, needed = set(_VALUE.findall(result)), []
    for line in reversed(kept):
        if line.value in used:
            used |= set(_VALUE.findall(line.text))
            needed.append(line)
    return needed[::-1], result


def _in_words(lines: Sequence[Line], result: str) -> list[str]:
    """The lines as statements: a value that the next line alone reads is called ``x``."""
    texts = [*(line.text for line in lines), result]
    readers = {line.value: [i for i, text in enumerate(texts) if f"«{line.value}»" in text] for line in lines}
    names = {line.value: "x" if readers[line.value] == [i + 1] else line.value for i, line in enumerate(lines)}
    words = [_VALUE.sub(lambda match: names[match[1]], text) for text in texts]
    made = [f"{names[line.value]} = {text}" for line, text in zip(lines, words, strict=False)]
    if lines and result == f"«{lines[-1].value}»":
        return [*made[:-1], f"return {words[-2]}"]
    return [*made, f"return {words[-1]}"]
