"""Layers with some numbers for each channel: a gain, a learned slope, statistics over the batch.

Their passes are functions of single numbers, written once and compiled for CPUs and GPUs:

- ``@per_element(direction, writes=...)`` gives a value for every element;
- ``@per_channel(direction, writes=...)`` gives terms of every element, which are summed for each channel.

Layers with numbers for each row of channels are Rowwise, see netspec.contract.rowwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

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
from netspec.contract.kernel import (
    PHASES,
    Direction,
    Kernel,
    Kernels,
    Phase,
    backward,
    cuda,
    epilogue,
    forward,
    load4,
    store4,
)
from netspec.contract.layer import Layer, Scalar, Tensors
from netspec.contract.tensor import Tensor, Workspace

LANES, THREADS = 32, 256
"""Channels that a block of threads sums, side by side in memory, and its threads."""
SMALLEST, MOST = 16384, 256
"""Elements of a part that is summed for itself, at least, and parts at most: blocks enough for a GPU."""
BLOCK = 65536
"""Elements that a call of a CPU kernel works through, about."""
Function = Callable[..., Any]


class Cut(NamedTuple):
    """An input as a matrix of ``rows`` pixels and ``width`` channels, of which ``parts`` are summed for themselves."""

    rows: int
    width: int
    parts: int


class Rows(NamedTuple):
    """How many rows there are, their elements, how many of them a pixel has and how many an image has."""

    number: int
    depth: int
    groups: int
    an_image: int


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
        code = _Code(function, channels, numbers)
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
        code = _Code(function, channels, numbers, rows, summed=count)
        end = _Code(finish or alone(count), channels, numbers, of_sums=count, name=function.__name__)
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


def alone(count: int) -> Function:
    """A function that gives its arguments."""
    names = ", ".join(f"s{n}" for n in range(count))
    function = defined("finish", f"def finish({names}):\n    return {names}\n", {"__name__": __name__})
    function.__netspec_scalar__ = True  # type: ignore[attr-defined]
    return function


def defined(name: str, text: str, scope: dict[str, Any]) -> Function:
    """The function that a text defines."""
    exec(text, scope)  # the text is made of templates and parameter names only
    function: Function = scope[name]
    function.__netspec_source__ = text  # type: ignore[attr-defined]
    return function


class _Code:
    """What the text of a function's kernels is made of: each parameter is an element, a channel's number or a number.

    ``summed``: how many values it gives that are summed; ``of_sums``: how many sums its first parameters are.
    """

    def __init__(
        self,
        function: Function,
        channels: Sequence[str],
        numbers: Sequence[str],
        rows: Sequence[str] = (),
        *,
        summed: int = 0,
        of_sums: int = 0,
        name: str = "",
    ) -> None:
        function.__netspec_scalar__ = True  # type: ignore[attr-defined]
        self.function, self.name, self.count = function, name or function.__name__, summed or of_sums
        names = tuple(inspect.signature(function).parameters)
        self.sums = {one: f"s{n}" for n, one in enumerate(names[:of_sums])}
        self.parameters = names[of_sums:]
        self.channels = [one for one in self.parameters if one in channels]
        self.rows = [one for one in self.parameters if one in rows]
        self.elements = [one for one in self.parameters if one not in (*channels, *numbers, *rows)]

    def kernel(self, backend: str, template: str, writes: tuple[str, ...], words: Mapping[str, str]) -> Function:
        """The function that a template gives with these words."""
        name, sums = f"{self.name}_{backend}", ("partials",) if self.count else ()
        params = ", ".join(dict.fromkeys((*self.parameters, *writes, *sums)))
        text = template.format(name=name, params=params, count=self.count, **words)
        helpers = {"scalar": self.function, "cuda": cuda, "load4": load4, "store4": store4, "epilogue": epilogue}
        constants = {"Cut": Cut, "Rows": Rows, "LANES": LANES, "THREADS": THREADS, "SHARED": self.count * THREADS}
        kernel = defined(name, text, {**helpers, **constants, "__name__": self.function.__module__})
        kernel.__qualname__ = f"{self.function.__qualname__}_{backend}"
        kernel.sums = self.count  # type: ignore[attr-defined]
        return kernel

    def call(self, element: str, channel: str = "{}[c]", row: str = "row_{}") -> str:
        """A call of the function; the texts say how an element, a channel's number and a row's are found."""
        places = dict.fromkeys(self.elements, element) | dict.fromkeys(self.channels, channel)
        places |= dict.fromkeys(self.rows, row)
        found = [places.get(one, "{}").format(one) for one in self.parameters]
        return f"scalar({', '.join([*self.sums.values(), *found])})"

    def every(self, text: str) -> str:
        """A statement for each sum."""
        return "; ".join(text.format(n=n) for n in range(self.count))

    def each_cpu(self, writes: tuple[str, ...]) -> dict[str, str]:
        """The words of EACH_CPU."""
        arrays = dict.fromkeys((*self.elements, *writes))
        return {
            "matrices": "; ".join(f"{one}_ = {one}[start:stop].reshape(-1, cut.width)" for one in arrays),
            "first": f"{writes[0]}_",
            "results": ", ".join(f"{one}_[row, c]" for one in writes),
            "call": self.call("{}_[row, c]"),
        }

    def each_cuda(self, writes: tuple[str, ...], through: bool) -> dict[str, str]:
        """The words of EACH_CUDA; ``through``: results are stored through the epilogue."""
        stored = "epilogue({})" if through else "{}"
        vectors = {**dict.fromkeys(self.elements, "i"), **dict.fromkeys(self.channels, "c")}
        outs = [[f"{one}_out{n}" for n in range(4)] for one in writes]
        calls = [self.call("{}_" + str(n), "{}_" + str(n)) for n in range(4)]
        return {
            "first": writes[0],
            "loads": "; ".join(f"{one}_0, {one}_1, {one}_2, {one}_3 = load4({one}, {vectors[one]})" for one in vectors),
            "calls": "; ".join(f"{', '.join(out[n] for out in outs)} = {calls[n]}" for n in range(4)),
            "stores": "; ".join(
                f"store4({one}, i, {', '.join(map(stored.format, out))})" for one, out in zip(writes, outs, strict=True)
            ),
            "results": ", ".join(f"{one}[i]" for one in writes),
            "call": stored.format(self.call("{}[i]")),
        }

    def sums_cpu(self) -> dict[str, str]:
        """The words of PARTS_CPU."""
        rows = "reshape(-1, cut.width)[part * each : (part + 1) * each]"
        terms, own = ", ".join(f"a{n}" for n in range(self.count)), "[own : own + rows.depth]"
        return {
            "totals": self.every("t{n} = partials[part, {n}]; t{n}[:] = 0"),
            "matrices": "; ".join(f"{one}_ = {one}.{rows}" for one in self.elements),
            "rows": "; ".join(f"row_{one} = {one}[at]" for one in self.rows),
            "first": f"{self.elements[0]}_",
            "add": f"{terms} = {self.call('{}_[row, c]')}; {self.every('t{n}[c] += a{n}')}",
            "slices": "; ".join(
                [f"{one}_own = {one}_[row]{own}" for one in self.elements]
                + [f"{one}_own = {one}{own}" for one in (*self.channels, *(f"t{n}" for n in range(self.count)))]
            ),
            "add_own": f"{terms} = {self.call('{}_own[c]', '{}_own[c]')}; {self.every('t{n}_own[c] += a{n}')}",
        }

    def sums_cuda(self) -> dict[str, str]:
        """The words of PARTS_CUDA."""
        terms = ", ".join(f"a{n}" for n in range(self.count))
        return {
            **self._tree(),
            "rows": "; ".join(f"row_{one} = {one}[at]" for one in self.rows),
            "add": f"{terms} = {self.call('{}[i]')}; {self.every('s{n} += a{n}')}",
            "end": self.every(f"partials[(part * {self.count} + {{n}}) * cut.width + c] = s{{n}}"),
        }

    def total(self, writes: tuple[str, ...]) -> dict[str, str]:
        """The words of TOTAL_CPU and TOTAL_CUDA."""
        return {
            **self._tree(),
            "add": self.every("s{n} += partials[part, {n}, c]"),
            "add_flat": self.every(f"s{{n}} += partials[(part * {self.count} + {{n}}) * cut.width + c]"),
            "end": f"{', '.join(f'{one}[c]' for one in writes)} = {self.call('{}')}",
        }

    def _tree(self) -> dict[str, str]:
        return {
            "clear": self.every("s{n} = 0.0"),
            "share": self.every("shared[{n} * THREADS + thread] = s{n}"),
            "gather": self.every("s{n} += shared[{n} * THREADS + thread + other * lanes]"),
        }
