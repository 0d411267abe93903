"""What an operation declares: marked kernels, and which passes a step of it consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from netspec.contract.kernel import Kernel
from netspec.contract.naming import Argument

Binding = tuple[str, Mapping[str, Argument]]
"""A kernel's function name without its backend, and step arguments by kernel parameter where names differ."""


class Operation:
    """A step that is no layer. Kernels are named ``<what>_cpu`` and ``<what>_cuda``.

    ``<what>_vector_cuda`` is taken instead where the rows of all arguments begin and end at multiples of four elements.
    """

    kernels: ClassVar[tuple[Kernel, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kernels = tuple(value for value in cls.__dict__.values() if isinstance(value, Kernel))

    @staticmethod
    def bindings(args: Sequence[Argument]) -> Sequence[Binding]:
        """The passes of a step with these arguments, in order."""
        raise NotImplementedError
