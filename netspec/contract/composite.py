"""Composites: types of layers that are made of other layers, in Python where ``blocks`` of a spec do not suffice.

A use of one becomes the layers that it stands for before anything else sees it, as a use of a block does: gradients,
devices, checkpoints and exports are theirs. What Python adds to a block is what depends on attributes: how many layers
there are, and which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

from netspec.contract.attrs import Attr, check_attrs, filled


class Composite:
    """Base of all composites; ``self.attrs`` has the attributes of one use."""

    type: ClassVar[str]
    """The name it is registered by."""
    attrs: ClassVar[Mapping[str, Attr]] = {}
    """Attributes by name, declared as a layer's."""
    inputs: ClassVar[tuple[str, ...]] = ("x",)
    """What its layers call its inputs."""
    output: ClassVar[str | None] = None
    """The layer that stands for it to those who read it; None: its last."""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Attributes that the contract suite tries."""
    shapes: ClassVar[tuple[tuple[int, ...], ...]] = ((8, 8, 4),)
    """Shapes of the inputs there, without the batch axis."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_attrs(cls.__name__, cls.attrs)

    def __init__(self, attrs: Mapping[str, Any]) -> None:
        self.attrs: Any = SimpleNamespace(**filled(type(self).attrs, attrs))  # type: ignore[misc, assignment]

    def layers(self) -> Sequence[Mapping[str, Any]]:
        """The layers in order, as a spec has them: ``{"name": "conv1", "type": "conv", "filters": 8, "inputs": "x"}``.

        Names are the composite's own; layers read each other and its inputs by them. Raises LayerError where the
        attributes do not fit one another.
        """
        raise NotImplementedError
