"""Callbacks: what hears of a run beside the terminal and its metrics file; one file is one, called as its file is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from netspec.callbacks._base import Callback
from netspec.registry import Registry

__all__ = ["Callback", "callback_types", "make_callback"]


_registry = Registry("callbacks", Callback, __name__, "callback")  # type: ignore[type-abstract]


def callback_types() -> Mapping[str, type[Callback]]:
    """All callbacks by name."""
    return _registry.types()


def make_callback(settings: Mapping[str, Any]) -> Callback:
    """The callback that a checked ``{type: ..., ...}`` describes."""
    return callback_types()[settings["type"]](settings)
