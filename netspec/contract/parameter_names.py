"""Names of the parameters of functions, by which kernels and functions of numbers are told what they receive."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """In their order. Raises TypeError for what cannot be called."""
    plain = isinstance(function, FunctionType) and "__wrapped__" not in vars(function)
    if not plain or function.__code__.co_flags & _STARRED:
        return tuple(inspect.signature(function).parameters)
    code = function.__code__  # inspect takes long, and a thousand kernels ask at every start
    return code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
