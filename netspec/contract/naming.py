"""What a kernel's parameter names mean: gradients, next states, inputs of an ``each`` pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.contract.tensor import Tensor


def canonical(name: str, tensors: Mapping[str, Any], each: str | None, index: int | None) -> str:
    """The step argument a kernel parameter stands for: d_x for dx, x2 for the x of an ``each`` pass."""
    for prefix in ("", "d_", "d"):
        rest = name[len(prefix) :]
        if not name.startswith(prefix) or not rest:
            continue
        if each is not None and rest == each:
            rest = f"{each}{index}"
        if rest in tensors:
            return f"d_{rest}" if prefix else rest
    return name


def tensor_of(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    """The tensor behind a canonical argument name; a gradient or next state has the shape of what it belongs to."""
    for prefix in ("", "d_", "next_"):
        if name.startswith(prefix) and name[len(prefix) :] in tensors:
            return tensors[name[len(prefix) :]]
    raise KeyError(name)
