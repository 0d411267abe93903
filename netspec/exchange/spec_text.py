"""A spec as a person would write it, a line for each layer, and names that it takes."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from netspec.contract.tensor import Tensor
from netspec.spec.scalars import text_of
from netspec.spec.writing import flow

Layers = Sequence[Mapping[str, Any]]
_OTHER = re.compile(r"[^A-Za-z0-9_-]+")
_ROOM = 60


def spec_text(
    name: str, devices: Sequence[str], inputs: Mapping[str, Tensor], layers: Layers, data: Mapping[str, Any]
) -> str:
    """The text; ``inputs`` are tensors with their batch, ``data`` the section of that name.

    Each layer is a map of its keys with ``inputs`` as a list, of which one that is the layer above is not written.
    """
    lines = ["netspec: 1", f"name: {text_of(name)}", f"devices: {flow(list(devices))}", "", "inputs:"]
    for input_, tensor in inputs.items():
        lines.append(f"  {text_of(input_)}: {flow(_input(tensor))}")
    lines += ["", "layers:"]
    above = None
    for layer in layers:
        lines.append(f"  - {flow(_short(layer, above))}")
        above = layer["name"]
    lines += ["", "data:", *(f"  {key}: {flow(value)}" for key, value in data.items())]
    return "\n".join(lines) + "\n"


def _input(tensor: Tensor) -> dict[str, Any]:
    shape = {"shape": list(tensor.shape[1:])} if tensor.shape[1:] else {}
    return shape | ({"dtype": tensor.dtype} if tensor.dtype != "float32" else {})


def _short(layer: Mapping[str, Any], above: str | None) -> dict[str, Any]:
    inputs = layer["inputs"]
    if inputs == [above]:
        return {key: value for key, value in layer.items() if key != "inputs"}
    return {**layer, "inputs": inputs[0] if len(inputs) == 1 else inputs}


def clean(text: str) -> str:
    """A text as a legal name; "" where nothing is left."""
    word = _OTHER.sub("-", text).strip("-")[:_ROOM]
    return word if not word or word[0].isalpha() or word[0] == "_" else f"_{word}"


def unique(word: str, taken: Container[str]) -> str:
    """The word, or with a number that is free."""
    name, number = word, 1
    while name in taken:
        number += 1
        name = re.sub(r"\d*$", "", word) + str(number) if word[-1].isdigit() else f"{word}-{number}"
    return name
