"""What the parameter names of kernels stand for: tensors, their gradients, their next values.

The contract gives them as names; this is the one place that reads these. Everywhere else an argument is a value.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from netspec.errors import LayerError

ArgumentRole = Literal["value", "gradient", "next"]
_PREFIXES: Mapping[str, ArgumentRole] = {"": "value", "d_": "gradient", "d": "gradient", "next_": "next"}


@dataclass(frozen=True, slots=True)
class Argument:
    """A tensor that a step takes, its gradient or its next value.

    ``layer`` is set where the argument is that of a layer fused into the step; ``index`` tells the sources of a sum
    apart. The text is the name that a kernel's author writes.
    """

    tensor: str
    role: ArgumentRole = "value"
    layer: str | None = None
    index: int | None = None

    def __str__(self) -> str:
        prefix = {"value": "", "gradient": "d_", "next": "next_"}[self.role]
        index = "" if self.index is None else self.index
        return f"{f'{self.layer}.' if self.layer else ''}{prefix}{self.tensor}{index}"


COUNTERS = Argument("counters")
"""The iteration and the number of valid rows, which any kernel may ask for."""
_RESERVED = (COUNTERS.tensor, "inputs", "output_names", "roles")
"""What a layer's tensors cannot be called: an argument of every kernel, and attributes of ``Tensors``."""


def argument(
    name: str,
    tensors: Collection[str],
    scratch: Collection[str] = (),
    each: str | None = None,
    current: str | None = None,
) -> Argument | None:
    """What a kernel's parameter stands for; None for what is no array, but an attribute or a number.

    In an ``each`` pass ``current`` is the input whose turn it is: ``dx`` is then the gradient of, say, ``x2``.
    """
    if name == COUNTERS.tensor:
        return COUNTERS
    if name in scratch:
        return Argument(name)
    for role, rest in _readings(name):
        tensor = current if current is not None and rest == each else rest
        if tensor in tensors:
            return Argument(tensor, role)
    return None


def _readings(name: str) -> Iterator[tuple[ArgumentRole, str]]:
    for prefix, role in _PREFIXES.items():
        if name.startswith(prefix):
            yield role, name[len(prefix) :]


def check_names(owner: str, tensors: Collection[str], scratch: Collection[str] = ()) -> None:
    """Raise LayerError where two of a layer's arrays share a name, or one is called as kernels call another's gradient.

    ``scratch`` are names of workspace, which has no gradient; ``owner`` is the layer type, for the message.
    """
    if wrong := _wrong_names(owner, tuple(tensors), tuple(scratch)):
        raise LayerError(*wrong)


@functools.lru_cache(1024)
def _wrong_names(owner: str, tensors: tuple[str, ...], scratch: tuple[str, ...]) -> tuple[str, str] | None:
    """What is wrong with them, and what to do."""
    known, names = frozenset(tensors), Counter((*tensors, *scratch))
    for name, count in names.items():
        if count > 1:
            return f"layer type '{owner}' has two arrays called '{name}'", "rename one of them"
        if not name.isidentifier() or name in _RESERVED:
            return f"layer type '{owner}': an array cannot be called '{name}'", "rename it"
        for role, rest in _readings(name):
            if role != "value" and rest in known:
                what = "the gradient" if role == "gradient" else "the next value"
                message = (
                    f"layer type '{owner}' has arrays called '{rest}' and '{name}', and '{name}' is how kernels call "
                    f"{what} of '{rest}'"
                )
                return message, "rename one of them"
    return None
