"""PyTorch's time for a layer, by the form of it that the layer writes for export."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any

import numpy as np

from netspec._layer import LoneLayer
from netspec.check import compare
from netspec.check.subject import drawn_input
from netspec.contract.kernel import Backend, Direction
from netspec.contract.layer import Layer, Tensors
from netspec.errors import LayerError, NetspecError
from netspec.exchange.torch_code import Code
from netspec.runners.tune import seconds_of

_COMPARED = 2
"""Rows of a batch on which the two are compared."""
_SAME = 1e-3
"""Error, relative to the largest number, up to which the two are said to compute the same."""


class NoPeer(NetspecError):
    """Why a layer has no counterpart in PyTorch to be timed."""


@dataclass(frozen=True, slots=True)
class Peer:
    """PyTorch's times by direction, and a line on how they were taken."""

    milliseconds: Mapping[Direction, float]
    about: str


def torch_peer(layer: Layer, t: Tensors, backend: Backend, threads: int, precise: bool) -> Peer:
    """Time the layer's form in PyTorch in training, with NCHW and with channels last, of which the faster counts.

    ``precise``: products in float32 and not in tf32. Raises NoPeer.
    """
    if find_spec("torch") is None:
        raise NoPeer("it is not installed (pip install torch)")
    if layer.reports:
        raise NoPeer("what a cost layer has for export is its prediction, without the loss")
    source, code = module_source(layer, t)
    import torch

    if backend == "cuda" and not torch.cuda.is_available():
        raise NoPeer(f"PyTorch {torch.__version__} is built for other devices")
    torch.set_num_threads(threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not precise
    net = _made(source).to(backend).train()
    error = _error(net, code, layer, t) if backend == "cpu" else 0.0
    found: dict[Direction, float] = {}
    for last in (False, True):
        for direction, seconds in _times(net, t, backend, last).items():
            found[direction] = min(found.get(direction, math.inf), seconds * 1e3)
    same = "" if error <= _SAME else "; its numbers are others on the same input: the two may differ in what they do"
    return Peer(found, f"PyTorch {torch.__version__}, {_with(backend, threads, precise)}: {_called(source)}{same}")


def _with(backend: Backend, threads: int, precise: bool) -> str:
    return f"{threads} threads" if backend == "cpu" else "float32" if precise else "tf32"


def module_source(layer: Layer, t: Tensors) -> tuple[str, Code]:
    """The text of a class ``Net`` that computes the layer, and what of the layer's tensors it holds. Raises NoPeer."""
    code = Code()
    code.layer = code.owner = layer.type
    stored = (*t.names("parameter"), *t.names("state"))
    code.params = {name: (name, None, None, t[name].shape) for name in stored}
    names = [code.variable(f"x{place}") for place in range(len(t.inputs))]
    try:
        made = layer.torch(code, t, *names)
    except LayerError as error:
        raise NoPeer(error.message) from None
    answer = made if isinstance(made, str) else next(iter(made.values()))
    if answer in names:
        raise NoPeer("there the layer is nothing, its input as it stands")
    lines = [*code.helpers.values(), "class Net(nn.Module):", "    def __init__(self):", "        super().__init__()"]
    lines += [f"        self.{name} = {text}" for name, text in code.modules.items()]
    lines += [f"    def forward(self, {', '.join(names)}):"]
    lines += [f"        {line.value} = {_plain(line.text)}" for line in code.lines]
    return "\n".join([*lines, f"        return {_plain(answer)}"]) + "\n", code


def _plain(text: str) -> str:
    return re.sub("[«»]", "", text)


def _called(source: str) -> str:
    """What the module is made of, or the expression where that is all."""
    modules = re.findall(r"^        self\.\w+ = (.*)$", source.rpartition("class Net")[2], re.MULTILINE)
    return ", ".join(modules) or source.rpartition("return ")[2].strip()


def _made(source: str) -> Any:
    import torch

    names: dict[str, Any] = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    exec(source, names)
    return names["Net"]()


def _error(net: Any, code: Code, layer: Layer, t: Tensors) -> float:
    """How far the two are apart on some rows, relative to the largest number."""
    import torch

    some = [replace(one, shape=(min(_COMPARED, one.shape[0]), *one.shape[1:])) for one in t.inputs]
    arrays = [drawn_input(f"x{place}", one, 1) for place, one in enumerate(some)]
    ours = LoneLayer(layer.type, vars(layer.attrs), "train", "cpu", 0)(*arrays)
    held = {**ours.params, **ours.state}
    there = {name: torch.from_numpy(np.array(one.there(held[one.source]))) for name, one in code.tensors.items()}
    net.load_state_dict(there, strict=False)
    with torch.no_grad():
        theirs = net(*(_moved(torch.from_numpy(array), True) for array in arrays))
    wanted = next(iter(ours.outputs.values()))
    got = (theirs.movedim(-3, -1) if wanted.ndim in (4, 5) else theirs).numpy()
    return compare.error(got, wanted) if got.shape == wanted.shape else math.inf


def _moved(array: Any, last: bool) -> Any:
    """Images as PyTorch has them: a view has its channels last in memory."""
    moved = array.movedim(-1, -3) if array.ndim in (4, 5) else array
    return moved if last else moved.contiguous()


@dataclass(frozen=True, slots=True)
class _Clock:
    """What ``seconds_of`` asks of a device."""

    synchronise: Callable[[], None]
    enqueues = False

    def capture(self, call: Callable[[], Any]) -> Any:
        """PyTorch has its own ways to record."""
        raise NetspecError("nothing is recorded")


def _times(net: Any, t: Tensors, backend: Backend, last: bool) -> dict[Direction, float]:
    """Seconds of a forward pass in training, and of the backward pass that follows."""
    import torch

    inputs = [_moved(torch.randn(one.shape, device=backend), last).requires_grad_() for one in t.inputs]
    answer = net(*inputs)
    leaves, dy = [*inputs, *net.parameters()], torch.randn_like(answer)
    clock: Any = _Clock(torch.cuda.synchronize if backend == "cuda" else lambda: None)
    calls: dict[Direction, Callable[[], Any]] = {
        "forward": lambda: net(*inputs),
        "backward": lambda: torch.autograd.grad(answer, leaves, dy, retain_graph=True),
    }
    found = {}
    for direction, call in calls.items():
        call()
        found[direction] = seconds_of(clock, call, math.inf)
    return found
