"""What an initialiser is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from netspec.contract.attrs import Attr, filled

if TYPE_CHECKING:  # a spec is validated without numpy
    import numpy as np
    from numpy.typing import NDArray

Attrs = Mapping[str, Attr]


@dataclass(frozen=True, slots=True)
class Fan:
    """How many values one output unit is computed from (``inputs``) and one input value goes to (``outputs``).

    For a convolution KH * KW * C / groups and KH * KW * F / groups; for a dense layer its inputs / groups and its
    units / groups (Glorot and Bengio 2010; He et al. 2015, section 2.2).
    """

    inputs: int
    outputs: int


class Initialiser(ABC):
    """A distribution that a parameter's first values are drawn from; ``attrs`` declares its settings."""

    attrs: ClassVar[Attrs] = {}
    examples: ClassVar[Sequence[Mapping[str, Any]]] = ({},)
    """Settings that the contract suite tries."""
    whole: ClassVar[bool] = False
    """Whether values depend on their place: ``draw`` is then asked for the whole tensor, in its own shape."""

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.settings = filled(self.attrs, {name: value for name, value in attrs.items() if name != "type"})

    def faults(self) -> Iterator[tuple[str, str, str]]:
        """What of the settings does not go together: the setting, what is wrong, the remedy."""
        yield from ()

    @abstractmethod
    def draw(self, random: np.random.Generator, shape: tuple[int, ...], fan: Fan) -> NDArray[np.float32]:
        """A float32 array of that shape, each value independent of the others: large tensors are drawn in pieces.

        A piece is some rows of the tensor seen as a matrix, whose columns are its last axis; see ``whole``.
        """
