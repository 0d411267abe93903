"""Layers with some numbers for each channel: a gain, a learned slope, statistics over the batch.

Their passes are functions of single numbers, written once and compiled for CPUs and GPUs:

- ``@per_element(direction, writes=...)`` gives a value for every element;
- ``@per_channel(direction, writes=...)`` gives terms of every element, which are summed for each channel.

Layers with numbers for each row of channels are Rowwise, see netspec.contract.rowwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from netspec.contract.kernel import PHASES, Direction, Kernel, Kernels, Phase, backward, forward
from netspec.contract.layer import Layer, Scalar, Tensors
from netspec.contract.tensor import Tensor, Workspace

SMALLEST, MOST = 16384, 256
"""Elements of a part that is summed for itself, at least, and parts at most: blocks enough for a GPU."""
BLOCK = 65536
"""Elements that a call of a CPU kernel works through, about."""


class Pass(Kernels):
    """The kernels of a marked function, with what a Rowwise layer asks of it; ``step`` has the arguments of a Step."""

    direction: Direction
    phases: tuple[Phase, ...]
    when: Mapping[str, Any]
    step: tuple[Any, ...] | None
    rows: tuple[str, ...]


def _pass(
    kernels: Sequence[Kernel], direction: Direction, options: Mapping[str, Any], step: tuple[Any, ...] | None = None,
    rows: Sequence[str] = (),
) -> Pass:  # fmt: skip
    made = Pass(kernels)
    phases: Any = options.get("phases", PHASES)
    made.phases = (phases,) if isinstance(phases, str) else tuple(phases)  # type: ignore[assignment]
    made.direction, made.when, made.step, made.rows = direction, options.get("when") or {}, step, tuple(rows)
    return made


def cut_of(x: Tensor) -> Cut:
    """How sums over a tensor are cut: by its shape alone, so that any team gives the same bits."""
    return Cut(x.size // x.shape[-1], x.shape[-1], max(1, min(x.size // SMALLEST, MOST)))


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
        cut = cut_of(t.inputs[0])
        return {"partials": Workspace((cut.parts, max(sums), cut.width))} if any(sums) else {}

    def scalars(self, t: Tensors, index: int | None = None) -> Mapping[str, Scalar]:
        """``cut`` and ``pixels``."""
        cut = cut_of(t.inputs[0])
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
    mark, over = _mark(direction), {**options, "over": writes[0], "writes": writes}

    def make(function: Function) -> Pass:
        code = Code(function, channels, numbers)
        on_cpu = mark("cpu", **over, block=_whole_rows)(code.kernel("cpu", EACH_CPU, writes, code.each_cpu(writes)))
        words = code.each_cuda(writes, direction == "forward" and writes == ("y",))
        on_cuda = mark("cuda", **over, per_thread=4, linear=True)(code.kernel("cuda", EACH_CUDA, writes, words))
        step = (function, tuple(channels), tuple(numbers), (), None, 0, "sum", "", 0, writes)
        return _pass((on_cpu, on_cuda), direction, options, step)

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
    parts, total = (_mark(direction, **options, over=one[0], writes=one) for one in (("partials",), writes))

    def make(function: Function) -> Pass:
        code = Code(function, channels, numbers, rows, summed=count)
        end = Code(finish or alone(count), channels, numbers, of_sums=count, name=function.__name__)
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
        return _pass(kernels, direction, options, rows=rows)

    return make


def names_of(names: str | tuple[str, ...]) -> tuple[str, ...]:
    """One name, or several, as several."""
    return (names,) if isinstance(names, str) else tuple(names)


def _mark(direction: Direction, **options: Any) -> Callable[..., Callable[[Function], Kernel]]:
    def mark(*backends: Any, **more: Any) -> Callable[[Function], Kernel]:
        return (forward if direction == "forward" else backward)(*backends, **options, **more)

    return mark


def _whole_rows(t: Tensors) -> int:
    width = t.inputs[0].shape[-1]
    return width * max(1, BLOCK // width)


def _parts_grid(t: Tensors) -> tuple[int, int]:
    cut = cut_of(t.inputs[0])
    return -(-cut.width // LANES), cut.parts


def _total_grid(t: Tensors) -> tuple[int]:
    return (_parts_grid(t)[0],)
