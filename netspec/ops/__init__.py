"""Operations that belong to no layer: preparing images, summing and checking gradients, norms. One file each."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from netspec.ops.base import Operation

_NAMES = (
    "gather", "prepare", "shadow", "sum", "mean", "accumulate", "finite", "squares", "total", "clip", "agree",
    "average", "commit", "reduce",
)  # fmt: skip


def operation(name: str) -> type[Operation]:
    """The operation behind a step's ``op``; KeyError for one that is no kernel (feed, copy, scalars)."""
    return operations()[name]


def operations() -> Mapping[str, type[Operation]]:
    """All operations by name."""
    if not _found:
        for name in _NAMES:
            module = importlib.import_module(f"netspec.ops.{name}")
            _found[name] = next(
                value
                for value in vars(module).values()
                if isinstance(value, type) and issubclass(value, Operation) and value is not Operation
            )
    return MappingProxyType(_found)


_found: dict[str, type[Operation]] = {}
