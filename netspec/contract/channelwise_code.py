"""The functions of a Channelwise layer as text of kernels: which parameter is found where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from netspec.contract.kernel import cuda, epilogue, load4, quotient, store4
from netspec.contract.parameter_names import parameter_names
from netspec.contract.reduction import sum_of_column, sum_of_four_columns

LANES, THREADS, AT_ONCE = 32, 512, 4
"""Units of channels that a block of threads sums, side by side in memory, its threads, and rows of which a thread has
loads on their way together."""
Function = Callable[..., Any]


class Cut(NamedTuple):
    """An input as a matrix of ``rows`` pixels and ``width`` channels, of which ``parts`` are summed for themselves.

    ``unit``: neighbouring channels of a thread, 4 where all of them have the same rows' numbers.
    """

    rows: int
    width: int
    parts: int
    unit: int


class Rows(NamedTuple):
    """How many rows there are, their elements, how many of them a pixel has and how many an image has.

    On GPUs ``lanes`` threads share a row, 2 ** ``shift``.
    """

    number: int
    depth: int
    groups: int
    an_image: int
    lanes: int
    shift: int


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


class Code:
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
        author: Function | None = None,
    ) -> None:
        function.__netspec_scalar__ = True  # type: ignore[attr-defined]
        self.function, self.author, self.count = function, author or function, summed or of_sums
        self.name = self.author.__name__
        names = parameter_names(function)
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
        helpers["quotient"] = quotient
        constants = {"Cut": Cut, "Rows": Rows, "LANES": LANES, "THREADS": THREADS, "AT_ONCE": AT_ONCE}
        constants |= {"SHARED": 4 * THREADS, "sum_of_column": sum_of_column, "sum_of_four_columns": sum_of_four_columns}
        scope = {"scalars": tuple(dict.fromkeys((self.author, self.function))), "__name__": self.author.__module__}
        kernel = defined(name, text, {**helpers, **constants, **scope})
        kernel.__qualname__ = f"{self.author.__qualname__}_{backend}"
        kernel.sums = self.count  # type: ignore[attr-defined]
        of_sums = writes if self.sums else ()  # what is written by these has a number a channel, else one an element
        elements, channels = (*self.elements, *(() if of_sums else writes)), (*self.channels, *of_sums)
        arrays = {"elements": () if self.sums else elements, "channels": channels}
        kernel.__netspec_arrays__ = arrays  # type: ignore[attr-defined]
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
            **self._fours(),
            "rows": "; ".join(f"row_{one} = {one}[at]" for one in self.rows),
            "add": f"{terms} = {self.call('{}[i]')}; {self.every('s{n} += a{n}')}",
            "end": self.every(f"partials[(part * {self.count} + {{n}}) * cut.width + c] = s{{n}}"),
        }

    def _fours(self) -> dict[str, str]:
        """The words of PARTS_CUDA for four channels of a thread."""
        loads, adds = [], []
        for r in range(AT_ONCE):
            row = f"(row + {r} * at_once)"
            loads += [f"{_four(f'{one}_{r}')} = load4({one}, {row} * cut.width + c)" for one in self.elements]
            at = f"{row} * rows.groups + quotient(c, rows.depth)"
            loads += [f"row_{one}_{r} = {one}[{at}]" for one in self.rows]
            terms = [f"a{n}" for n in range(self.count)]
            calls = [self.call(f"{{}}_{r}_{k}", f"{{}}__{k}", f"row_{{}}_{r}") for k in range(4)]
            added = [self.every(f"s{{n}}_{k} += a{{n}}") for k in range(4)]
            adds += [f"{', '.join(terms)} = {call}; {add}" for call, add in zip(calls, added, strict=True)]
        one = len(loads) // AT_ONCE
        channels = (f"{_four(f'{name}_')} = load4({name}, c)" for name in self.channels)
        sums, to = _four("s{n}"), f"(part * {self.count} + {{n}}) * cut.width + c"
        return {
            "clear_four": self.every(f"{sums} = 0.0, 0.0, 0.0, 0.0"),
            "channels_four": "; ".join(channels),
            "loads_in_flight": "; ".join(loads),
            "loads_one": "; ".join(loads[:one]),
            "add_in_flight": "; ".join(adds),
            "add_one": "; ".join(adds[:4]),
            "meet_four": self.every(f"{sums} = sum_of_four_columns(({sums}), lanes, at_once, shared)"),
            "end_four": self.every(f"store4(partials, {to}, {sums})"),
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
            "meet": self.every("s{n} = sum_of_column(s{n}, lanes, at_once, shared)"),
        }


def _four(name: str) -> str:
    """What four neighbouring elements are called."""
    return ", ".join(f"{name}_{k}" for k in range(4))
