"""Layers with some numbers for each channel: a gain, a learned slope, statistics over the batch.

Their passes are functions of single numbers, written once and compiled for CPUs and GPUs:

- ``@per_element(direction, writes=...)`` gives a value for every element;
- ``@per_channel(direction, writes=...)`` gives terms of every element, which are summed for each channel.

Layers with numbers for each row of channels are Rowwise, see netspec.contract.rowwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from netspec.contract.channelwise_code import LANES, THREADS, Code, Cut, Function, alone
from netspec.contract.channelwise_text import (
    EACH_CPU,
    EACH_CUDA,
    PARTS_CPU,
    PARTS_CUDA,
    ROWS_CPU,
    ROWS_CUDA,
    TOTAL_CPU,
    TOTAL_CUDA,
)
from netspec.contract.kernel import DEFAULT_BLOCK, Direction, Kernel, Kernels, Phase, marker_of
from netspec.contract.layer import Layer, Scalar, Tensors
from netspec.contract.rowwise_text import Step
from netspec.contract.tensor import Tensor, Workspace

SMALLEST, MOST = 16384, 256
"""Elements of a part that is summed for itself, at least, and parts at most: blocks enough for a GPU."""


class Pass(Kernels):
    """The kernels of a marked function, and what a Rowwise layer asks of it: a ``step`` where it is ``per_element``."""

    direction: Direction
    phases: tuple[Phase, ...]
    when: Mapping[str, Any]
    step: Step | None
    rows: tuple[str, ...]


def _pass(kernels: Sequence[Kernel], step: Step | None = None, rows: Sequence[str] = ()) -> Pass:
    made = Pass(kernels)
    made.direction, made.phases, made.when = made[0].direction, made[0].phases, made[0].when
    made.step, made.rows = step, tuple(rows)
    return made


def cut_of(t: Tensors) -> Cut:
    """How sums over the first input are cut: by its shape alone, so that any team gives the same bits."""
    x = t.inputs[0]
    alike = t.rows.depth if hasattr(t, "rows") else x.shape[-1]
    parts = max(1, min(x.size // SMALLEST, MOST))
    return Cut(x.size // x.shape[-1], x.shape[-1], parts, 1 if alike % 4 else 4)


class Channelwise(Layer):
    """A layer whose output has the input's shape, made of passes ``per_element`` and ``per_channel``.

    Each channel depends on itself and on numbers of its own: parameters and states of shape (C,). Kernels may take the
    scalar ``pixels``, how many elements a channel has.
    """

    channelwise = True

    def outputs(self, *inputs: Tensor) -> Tensor:
        """The first input's shape."""
        return Tensor(inputs[0].shape, inputs[0].dtype)

    def workspace(self, t: Tensors, variant: str, direction: Direction) -> Mapping[str, Workspace]:
        """``partials`` (parts, sums, C), where a pass takes sums."""
        sums = [getattr(one.function, "sums", 0) for one in self.kernels if one.direction == direction]
        cut = cut_of(t)
        return {"partials": Workspace((cut.parts, max(sums), cut.width))} if any(sums) else {}

    def scalars(self, t: Tensors, index: int | None = None) -> Mapping[str, Scalar]:
        """``cut`` and ``pixels``."""
        cut = cut_of(t)
        return {"cut": cut, "pixels": float(cut.rows)}


def per_element(
    direction: Direction,
    *,
    writes: str | tuple[str, ...],
    channels: Sequence[str] = (),
    numbers: Sequence[str] = (),
    **options: Any,
) -> Callable[[Function], Kernels]:
    """Mark a function in a Channelwise layer that gives what ``writes`` names, for every element.

    Parameters in ``channels`` are of arrays with a number for each channel, those in ``numbers`` are attributes or
    scalars, all others are elements of arrays of the input's shape. ``phases`` and ``when`` are those of a mark. On
    GPUs an elementwise layer that follows joins a pass that writes y.
    """
    writes = names_of(writes)
    mark, over = marker_of(direction), {**options, "over": writes[0], "writes": writes}

    def make(function: Function) -> Pass:
        code = Code(function, channels, numbers)
        on_cpu = mark("cpu", **over, block=whole_rows)(code.kernel("cpu", EACH_CPU, writes, code.each_cpu(writes)))
        words = code.each_cuda(writes, direction == "forward" and writes == ("y",))
        on_cuda = mark("cuda", **over, per_thread=4, linear=True)(code.kernel("cuda", EACH_CUDA, writes, words))
        return _pass((on_cpu, on_cuda), Step(function, tuple(channels), tuple(numbers), writes=writes))

    return make


def per_channel(
    direction: Direction,
    *,
    writes: str | tuple[str, ...],
    finish: Function | None = None,
    sums: int | None = None,
    channels: Sequence[str] = (),
    rows: Sequence[str] = (),
    numbers: Sequence[str] = (),
    **options: Any,
) -> Callable[[Function], Pass]:
    """Mark a function in a Channelwise layer whose value, or tuple of values, is summed over all pixels.

    ``writes`` names arrays with a number for each channel: the sums, or what ``finish`` gives for them and for further
    numbers that it asks for; ``sums`` is then how many there are, one unless said. Parameters are as those of
    ``per_element``; in a Rowwise layer those in ``rows`` are numbers of rows. The order in which is summed depends on
    the shape alone, and there are no atomics.
    """
    writes = names_of(writes)
    count = sums or (len(writes) if finish is None else 1)
    parts, total = (
        partial(marker_of(direction), **options, over=one[0], writes=one) for one in (("partials",), writes)
    )

    def make(function: Function) -> Pass:
        code = Code(function, channels, numbers, rows, summed=count)
        end = Code(finish or alone(count), channels, numbers, of_sums=count, author=function)
        kernels = (
            parts("cpu", axes=0)(code.kernel("parts_cpu", ROWS_CPU if rows else PARTS_CPU, (), code.sums_cpu())),
            total("cpu", block=64)(end.kernel("cpu", TOTAL_CPU, writes, end.total(writes))),
            parts("cuda", threads=THREADS, grid=_parts_grid, linear=True)(
                code.kernel("parts_cuda", ROWS_CUDA if rows else PARTS_CUDA, (), code.sums_cuda())
            ),
            total("cuda", threads=THREADS, grid=_total_grid, linear=True)(
                end.kernel("cuda", TOTAL_CUDA, writes, end.total(writes))
            ),
        )
        return _pass(kernels, rows=rows)

    return make


def names_of(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name, or several, as several."""
    return (names,) if isinstance(names, str) else tuple(names)


def whole_rows(t: Tensors) -> int:
    """Elements of a call of a CPU kernel: all channels of some pixels."""
    width = t.inputs[0].shape[-1]
    return width * max(1, DEFAULT_BLOCK // width)


def _parts_grid(t: Tensors) -> tuple[int, int]:
    cut = cut_of(t)
    return -(-cut.width // (cut.unit * LANES)), cut.parts


def _total_grid(t: Tensors) -> tuple[int]:
    return (-(-t.inputs[0].shape[-1] // LANES),)
