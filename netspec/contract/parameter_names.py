"""Names of the parameters of functions, by which kernels and functions of numbers are told what they receive."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

_STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
OPERANDS = "operands"
"""The starred parameter of kernels whose function says, in ``__netspec_operands__``, which arrays it stands for."""


def parameter_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """In their order. Raises TypeError for what cannot be called."""
    plain = isinstance(function, FunctionType) and "__wrapped__" not in vars(function)
    if not plain or (function.__code__.co_flags & _STARRED and not takes_operands(function)):
        return tuple(inspect.signature(function).parameters)
    code = function.__code__  # inspect takes long, and a thousand kernels ask at every start
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (*names, *operands_of(function)) if takes_operands(function) else names


def takes_operands(function: Callable[..., Any]) -> bool:
    """Whether it has that starred parameter."""
    code = function.__code__
    named = code.co_varnames[code.co_argcount + code.co_kwonlyargcount :][:1]
    return bool(code.co_flags & inspect.CO_VARARGS) and named == (OPERANDS,)


def operands_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The arrays and numbers that it stands for."""
    return getattr(function, "__netspec_operands__", ())
