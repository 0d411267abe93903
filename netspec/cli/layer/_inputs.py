"""What ``--input`` and ``--set`` say of a layer that stands in no network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from netspec.errors import NetspecError, NoSuchFile, printable

if TYPE_CHECKING:
    import numpy as np

    from netspec.contract.kernel import Phase

    Array = np.ndarray[Any, Any]
    Shape = tuple[int, ...]

SHAPE = re.compile(r"[0-9]{1,9}(x[0-9]{1,9})*")
_MOST = 2**31
"""Elements of a shape, of which a misplaced digit could ask for many more than there is memory."""

attributes = click.option(
    "--set",
    "assignments",
    metavar="ATTR=VALUE",
    multiple=True,
    help="Give an attribute of the layer a value, such as size=3.",
)
"""Repeatable."""


def only_layer(given: str) -> str:
    """The layer type that a TYPE or a FILE stands for; NetspecError where it is none, or several."""
    from netspec.cli.layer.show import named
    from netspec.registry import described, layer_types

    found = named(given)
    layers = [one for one in found if one in layer_types()]
    if len(layers) == 1:
        return layers[0]
    if layers:
        raise NetspecError(f"{printable(given)} has several layer types: --plugin it, and name {' or '.join(layers)}")
    raise NetspecError(f"{described(found[0])}: that is no layer")


def shape_of(text: str) -> Shape:
    """``128x27x27x256`` as a shape; UsageError for what is none."""
    shape = tuple(map(int, text.split("x"))) if SHAPE.fullmatch(text) else (0,)
    if 0 in shape:
        raise click.UsageError(f"'{printable(text)}' is no shape: write 128x27x27x256, the batch first, channels last")
    if prod(shape) > _MOST:
        raise click.UsageError(f"an input of shape {text} has more than {_MOST:,} elements")
    return shape


def completed(kind: str, shapes: Sequence[Shape], phase: Phase = "train") -> tuple[Shape, ...]:
    """The shapes of all inputs; one that stands alone is that of each, and a label has a number a row."""
    names = _names(kind, 2 if len(shapes) == 1 else len(shapes), phase)
    if len(shapes) == 1:
        return tuple(shapes[0][:1] if name == "label" else shapes[0] for name in names)
    if len(shapes) != len(names):
        raise click.UsageError(f"{kind} reads {', '.join(names)}: give --input for each, or once for all of them")
    return tuple(shapes)


def arrays(kind: str, given: Sequence[str], phase: Phase) -> list[Array]:
    """The inputs: files as they are; of a shape normally distributed numbers, or labels, always the same ones."""
    from netspec.check.subject import drawn_input, input_tensor

    if len(given) == 1 and SHAPE.fullmatch(given[0]):
        given = ["x".join(map(str, shape)) for shape in completed(kind, [shape_of(given[0])], phase)]
    names = _names(kind, len(given), phase)
    if len(given) != len(names):
        raise click.UsageError(f"{kind} reads {', '.join(names)}: give --input for each")
    found: list[Array] = []
    for name, text in zip(names, given, strict=True):
        if SHAPE.fullmatch(text):
            classes = max((1, *found[0].shape[-1:])) if found else 1
            found.append(drawn_input(name, input_tensor(name, shape_of(text)), classes))
        else:
            found.append(read_array(text))
    return found


def _names(kind: str, count: int, phase: Phase) -> list[str]:
    """The inputs that are there in a phase."""
    from netspec.registry import layer_types

    cls = layer_types()[kind]
    names = cls.input_names(count if cls.variadic else len(cls.inputs))
    return [name for name in names if phase != "predict" or name not in cls.optional]


def read_array(path: str) -> Array:
    """The array of a .npy file; one line where there is none."""
    import numpy as np

    if not Path(path).exists():
        raise NoSuchFile(f"{printable(path)}: no such file; --input takes a .npy file, or a shape such as 2x5x6x4")
    try:
        found: Array = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise NetspecError(f"{printable(path)}: not an array of NumPy's, as np.save writes it: {error}") from error
    if not isinstance(found, np.ndarray):
        raise NetspecError(f"{printable(path)}: holds several arrays; save the one with np.save")
    return found
