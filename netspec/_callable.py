"""Lets a package be called: ``netspec.plan(spec)`` beside ``from netspec.plan import Plan``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(module: str, function: Callable[..., Any]) -> None:
    """Let a call of the module be a call of ``function``.

    Python looks for ``__call__`` on the type, so the module gets a type of its own, as the language reference's
    "Customizing module attribute access" has it.
    """

    class CallableModule(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    CallableModule.__call__.__doc__ = function.__doc__
    sys.modules[module].__class__ = CallableModule
