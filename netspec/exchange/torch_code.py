"""What a layer writes its form in PyTorch into: see ``Layer.torch``.

Images are channels first, as PyTorch has them: (N, H, W, C) of netspec is (N, C, H, W), a sequence (N, F, H, W, C) is
(N, F, C, H, W); all other tensors are as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from keyword import iskeyword
from typing import Any, NamedTuple

import numpy as np

from netspec.contract.tensor import Tensor
from netspec.exchange.merging import Cut, Form, channel_axis, part_of

Array = np.ndarray[Any, Any]


class Stored(NamedTuple):
    """A tensor of a module, and of which of netspec's it is: that one's name, or a part of it along an axis, of that
    shape; its axes in that order, and then that shape."""

    source: str
    axis: int | None
    cut: Cut | None
    own: tuple[int, ...]
    order: tuple[int, ...]
    shape: tuple[int, ...]

    def there(self, whole: Array) -> Array:
        """netspec's array as the module has it."""
        return part_of(whole, self.axis, self.cut).transpose(self.order).reshape(self.shape)

    def here(self, array: Array) -> Array:
        """The module's array as netspec has it, of its part."""
        moved = array.reshape([self.own[axis] for axis in self.order])
        return moved.transpose(np.argsort(self.order))


class Line(NamedTuple):
    """A value and the expression that it is of; values in texts stand between « and »."""

    value: str
    text: str


class Code(Form):
    """The modules of a network and the lines of its ``forward``.

    ``layer`` is the layer that is being written, ``owner`` the one whose parameters it has, ``params`` their places.
    """

    def __init__(self) -> None:
        self.modules: dict[str, str] = {}
        self.tensors: dict[str, Stored] = {}
        self.ties: dict[str, str] = {}
        self.helpers: dict[str, str] = {}
        self.lines: list[Line] = []
        self.owner = ""
        self.params: Mapping[str, tuple[str, int | None, Cut | None, tuple[int, ...]]] = {}
        self._held: dict[str, Stored] = {}
        self._names: dict[str, str] = {}
        self._variables: dict[str, str] = {}

    # For layers -----------------------------------------------------------------------------------------------------

    def holds(
        self, param: str, order: Sequence[int] = (), shape: Sequence[int] = (), called: str | None = None
    ) -> None:
        """The next module's tensor ``called`` (as here, by default) is the layer's parameter or state ``param``.

        Its axes are in that order (as they are), and then it has that shape; -1 stands for what is left.
        """
        source, axis, cut, own = self.params[param]
        axes = tuple(order) or tuple(range(len(own)))
        moved = np.broadcast_to(np.float32(0), [own[i] for i in axes])
        there = moved.reshape(shape).shape if shape else moved.shape
        self._held[called or param] = Stored(source, axis, cut, own, axes, there)

    def module(self, kind: str, *args: Any, **options: Any) -> str:
        """A module that the layer has, as what to call it by; options that are None are left out."""
        words = [*map(_text, args), *(f"{key}={_text(value)}" for key, value in options.items() if value is not None)]
        made, held = f"{kind}({', '.join(words)})", self._held
        self._held = {}
        name, owner = self.name(self.layer), self.name(self.owner)
        if owner != name and self.modules.get(owner) == made:
            return f"self.{owner}"
        self.modules[name] = made
        for called, stored in held.items():
            self.tensors[f"{name}.{called}"] = stored
            if owner != name:
                self.ties[f"{name}.{called}"] = f"{owner}.{called}"
        return f"self.{name}"

    def helper(self, name: str, text: str) -> str:
        """A class that the module's file has besides, by its name."""
        self.helpers[name] = text.strip("\n")
        return name

    # Values ---------------------------------------------------------------------------------------------------------

    def value(self, name: str, text: str) -> str:
        """An expression under a name."""
        self.lines.append(Line(name := self.variable(name), text))
        return f"«{name}»"

    def channels_first(self, value: str, tensor: Tensor) -> str:
        """A value in netspec's layout as it is here; ``tensor`` is what netspec knows of it."""
        return f"{value}.movedim(-1, -3)" if len(tensor.shape) in (4, 5) else value

    def channels_last(self, value: str, tensor: Tensor) -> str:
        """A value in netspec's layout."""
        return f"{value}.movedim(-3, -1)" if len(tensor.shape) in (4, 5) else value

    def by_image(self, module: str, value: str, tensor: Tensor) -> str:
        """A call of a module that knows no sequences: frames are images of their own."""
        frames = len(tensor.shape) == 5
        return f"{module}({value}.flatten(0, 1)).unflatten(0, {value}.shape[:2])" if frames else f"{module}({value})"

    def pieces(self, value: str, tensor: Tensor, widths: Sequence[int]) -> tuple[str, ...]:
        """A value cut along its channels."""
        if len(widths) == 1:
            return (value,)
        starts = np.cumsum([0, *widths[:-1]]).tolist()
        axis = channel_axis(tensor)
        return tuple(f"{value}.narrow({axis}, {start}, {width})" for start, width in zip(starts, widths, strict=True))

    def joined(self, values: Sequence[str], tensor: Tensor) -> str:
        """Values joined along their channels; ``tensor`` is one of them, or the result."""
        return values[0] if len(values) == 1 else f"torch.cat([{', '.join(values)}], {channel_axis(tensor)})"

    # Names ----------------------------------------------------------------------------------------------------------

    def name(self, wanted: str) -> str:
        """A name of netspec's as that of an attribute of the module, always the same."""
        return _given(wanted, self._names)

    def variable(self, wanted: str) -> str:
        """A name of netspec's as that of a variable or argument of its ``forward``, always the same."""
        return _given(wanted, self._variables)


def identifier(name: str) -> str:
    """A name as one that a module of PyTorch may have for a module, and a function for a variable."""
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    made = made if made[:1].isalpha() else f"layer{made}"
    return f"{made}_" if iskeyword(made) or made in RESERVED else made


def _given(wanted: str, given: dict[str, str]) -> str:
    """The name that is given to another, a new one at first."""
    if wanted not in given:
        made, number = identifier(wanted), 1
        while (name := made if number == 1 else f"{made}_{number}") in given.values():
            number += 1
        given[wanted] = name
    return given[wanted]


def _text(value: Any) -> str:
    """A value as it is written; of equal numbers for height and width, one."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return value if isinstance(value, str) else repr(value)


RESERVED = frozenset(
    "self x torch nn F T_destination add_module apply bfloat16 buffers call_super_init children compile cpu cuda "
    "double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu "
    "load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters predict "
    "register_backward_hook register_buffer register_forward_hook register_forward_pre_hook "
    "register_full_backward_hook register_full_backward_pre_hook register_load_state_dict_post_hook "
    "register_load_state_dict_pre_hook register_module register_parameter register_state_dict_post_hook "
    "register_state_dict_pre_hook requires_grad_ set_extra_state set_submodule share_memory state_dict to to_empty "
    "train training type xpu zero_grad".split()
)
"""What a module of PyTorch, or the text of ``forward``, has already."""
